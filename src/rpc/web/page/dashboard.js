// The page of a node. It only reads. Whatever comes from the node is put into the page as text and never as HTML: keys and
// values are what anybody may have written. One live stream is open at a time, because browsers allow few connections.

const main = document.getElementById("main");
const EVENTS_SHOWN = 500;
const PAGE = 200;
const RETRY_MS = 2000;
const MEMBERS_MS = 5000;

const state = { token: "", status: null, members: [], view: null, stream: null, events: [], watched: null };

// ---- the page
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== false && value != null) made.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child != null) made.append(child instanceof Node ? child : String(child));
  return made;
}

function table(heads, rows, empty) {
  if (!rows.length) return element("p", { class: "faint" }, empty);
  const head = heads.map(([name, isNumber]) => element("th", { scope: "col", class: isNumber && "number" }, name));
  const line = (row) => element("tr", {}, row.map((cell, at) => element("td", { class: heads[at][1] && "number" }, cell)));
  const body = element("table", {}, element("thead", {}, element("tr", {}, head)), element("tbody", {}, rows.map(line)));
  return element("div", { class: "wide" }, body);
}

function facts(pairs) {
  const line = ([name, value]) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, value));
  return element("div", { class: "wide" }, element("table", {}, element("tbody", {}, pairs.map(line))));
}

const word = (isGood, good, bad) => element("span", { class: isGood ? "good" : "bad" }, isGood ? good : bad);
const code = (text) => element("span", { class: "key" }, text);
const count = (number) => (typeof number === "number" ? number.toLocaleString("en") : (number ?? "-"));
const time = (ms) => (ms ? new Date(Number(ms)).toISOString().replace("T", " ").slice(0, 19) : "-");

function size(bytes) {
  if (bytes == null) return "-";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let number = Number(bytes);
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) [number, unit] = [number / 1024, unit + 1];
  return `${unit ? number.toFixed(1) : number} ${units[unit]}`;
}

function age(seconds) {
  const parts = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  let left = Math.floor(seconds);
  const found = parts.map(([unit, length]) => [Math.floor(left / length), unit, (left %= length)]).filter(([number]) => number);
  return found.slice(0, 2).map(([number, unit]) => `${number} ${unit}`).join(" ") || "0 s";
}

function say(text, isBad) {
  const place = document.getElementById("state");
  if (place.textContent !== text) place.textContent = text;
  place.className = isBad ? "bad" : "";
}

// ---- the node
class Refused extends Error {}

async function fetched(path, signal) {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  const answer = await fetch(path, { headers, signal, cache: "no-store", credentials: "omit", redirect: "error" });
  if (answer.status === 401) throw new Refused("the node wants its token");
  if (!answer.ok) {
    const text = await answer.text();
    let why = text;
    try {
      why = JSON.parse(text).error.message;
    } catch {
      // A plain sentence.
    }
    throw new Error(why.trim());
  }
  return answer;
}

const ask = async (subject, signal) => (await fetched(`/api/v1/${subject}`, signal)).json();

// A key is told with its `id`: its bytes as they stand in a query.
const inQuery = (keyspace) => `keyspace=${encodeURIComponent(keyspace)}`;

async function follow(query) {
  if (state.stream) state.stream.abort();
  const stream = new AbortController();
  state.stream = stream;
  while (!stream.signal.aborted) {
    try {
      await listen(await fetched(`/api/v1/live${query}`, stream.signal));
      if (!stream.signal.aborted) say("the node ended the stream", true);
    } catch (error) {
      if (stream.signal.aborted) return;
      if (error instanceof Refused) return askForToken();
      say(`no answer: ${error.message}`, true);
    }
    await new Promise((done) => setTimeout(done, RETRY_MS));
  }
}

async function listen(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const messages = text.split("\n\n");
    text = messages.pop();
    for (const message of messages) {
      const [name, data] = message.split("\n").map((line) => line.slice(line.indexOf(": ") + 2));
      hear(name, JSON.parse(data));
    }
  }
}

function hear(name, told) {
  if (name === "status") {
    state.status = told;
    document.getElementById("name").textContent = `${told.cluster} / ${told.node}`;
    const isWell = told.ready && told.serving && !told.problems.length;
    say(isWell ? "all is well" : told.problems[0] || (told.ready ? "it takes no writes" : "not ready yet"), !isWell);
  } else if (name === "changes") {
    const at = time(Date.now());
    state.events.push(...told.map((event) => ({ ...event, at })));
    state.events.splice(0, Math.max(0, state.events.length - EVENTS_SHOWN));
  } else if (name === "error") {
    say(told.error.message, true);
  }
  state.view?.hear?.(name);
}

function askForToken() {
  state.view = null;
  state.stream?.abort();
  const field = element("input", { type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const enter = (event) => {
    event.preventDefault();
    state.token = field.value;
    show();
  };
  say(state.token ? "the token is not that of the cluster" : "the node wants its token", true);
  main.replaceChildren(
    element("form", { submit: enter }, element("label", {}, "Token", field), element("button", {}, "Enter")),
    element("p", { class: "faint" }, "It is kept in this page alone, and forgotten when you close or reload it."),
  );
  field.focus();
}

async function attempt(place, work) {
  try {
    await work();
  } catch (error) {
    if (error instanceof Refused) askForToken();
    else place.replaceChildren(element("p", { class: "bad", role: "alert" }, error.message));
  }
}

// ---- the views
function cluster() {
  const place = element("div", {});
  main.replaceChildren(place);
  const draw = () => {
    const { status, members } = state;
    if (!status) return;
    const group = status.group;
    const peers = new Map(status.peers.map((peer) => [peer.address, peer]));
    const votes = new Map((group?.members || []).map((member) => [member.node, member]));
    const row = (member) => {
      const vote = votes.get(member.node);
      const role = member.node && member.node === group?.leader ? "leader" : vote ? (vote.votes ? "voter" : "learner") : "-";
      const problem = peers.get(member.address)?.problem || "";
      const isUp = member.state === "up";
      return [code(member.node ?? "-"), member.address + (member.node === status.node ? " (this node)" : ""),
        word(isUp, member.state, member.state), role, count(member.behind), count(vote?.lag_entries), problem];
    };
    const heads = [["Node"], ["Address"], ["State"], ["Strong group"], ["Writes behind", true], ["Entries behind", true], ["Problem"]];
    place.replaceChildren(
      element("h2", {}, "Problems"),
      status.problems.length ? element("ul", {}, status.problems.map((text) => element("li", { class: "bad" }, text)))
        : element("p", { class: "good" }, "none"),
      element("h2", {}, "Members, as this node knows them"),
      table(heads, members.map(row), "none are known yet"),
      element("h2", {}, "Strong group"),
      facts([["Leader", code(group?.leader ?? "nobody that this node knows")], ["Term", count(group?.term)],
        ["This node", group?.role ?? "-"], ["Revision", group?.revision ?? "-"], ["Problem", group?.problem || "none"]]),
      element("h2", {}, "This node"),
      facts([["Keys of eventual keyspaces", count(status.keys)], ["Their bytes", size(status.bytes)],
        ["Memory", `${size(status.memory_bytes)} of ${status.memory_limit_bytes == null ? "no bound" : size(status.memory_limit_bytes)}`],
        ["Log on disk", status.storage ? size(status.storage.log_bytes) : "none: it lives in memory"],
        ["Replication, 99 of 100", `${status.replication_lag.p99_ms.toFixed(1)} ms`],
        ["Lost writes", count(status.conflicts)]]),
    );
  };
  const refresh = () => attempt(place, async () => {
    state.members = (await ask("members")).members;
    draw();
  });
  refresh();
  const timer = setInterval(refresh, MEMBERS_MS);
  return { hear: (name) => name === "status" && draw(), leave: () => clearInterval(timer) };
}

function keyspaceField(chosen) {
  const field = element("select", {}, element("option", { value: chosen }, chosen));
  attempt(element("p"), async () => {
    const { keyspaces } = await ask("keyspaces");
    const option = (each) => {
      const text = `${each.name} (${each.consistency}, ${count(each.keys)} keys${each.bytes == null ? "" : `, ${size(each.bytes)}`})`;
      return element("option", { value: each.name, selected: each.name === field.value }, text);
    };
    if (keyspaces.length) field.replaceChildren(...keyspaces.map(option));
  });
  return field;
}

function keys() {
  const keyspace = keyspaceField("default");
  const prefix = element("input", { size: 40, spellcheck: "false", autocomplete: "off" });
  const list = element("div", {});
  const viewer = element("section", { "aria-live": "polite" });
  const open = async (found) => attempt(viewer, async () => {
    const told = await ask(`key?${inQuery(keyspace.value)}&key=${found.id}`);
    viewer.replaceChildren(...(told.missing ? [element("p", {}, "It is not there any more.")] : shown(told)));
  });
  const page = async (id, after) => attempt(list, async () => {
    const told = await ask(`keys?${inQuery(keyspace.value)}&prefix=${id}&fold=1&limit=${PAGE}${after ? `&after=${after}` : ""}`);
    const folder = (each) => [element("button", { class: "link key", click: () => enter(each.id) }, each.folder), "folder", "", ""];
    const key = (each) => [element("button", { class: "link key", click: () => open(each) }, each.key), each.type, size(each.bytes), each.version];
    list.replaceChildren(
      table([["Key"], ["Type"], ["Bytes", true], ["Version", true]], [...told.folders.map(folder), ...told.keys.map(key)], "no keys"),
      told.next ? element("button", { click: () => page(id, told.next) }, "Next page") : "",
    );
  });
  const enter = (id) => {
    // What is no UTF-8 cannot be typed, and is shown as what a query has.
    try {
      prefix.value = decodeURIComponent(id);
    } catch {
      prefix.value = id;
    }
    viewer.replaceChildren();
    page(id);
  };
  const submit = (event) => {
    event.preventDefault();
    enter(encodeURIComponent(prefix.value));
  };
  keyspace.addEventListener("change", () => enter(""));
  main.replaceChildren(
    element("form", { submit }, element("label", {}, "Keyspace", keyspace), element("label", {}, "Prefix", prefix),
      element("button", {}, "Show"), element("button", { type: "button", click: () => enter("") }, "All keys")),
    list, viewer,
  );
  page("");
  return {};
}

function shown(told) {
  let text = told.value;
  // Laid out only where nothing is rounded by it.
  if (told.encoding === "json" && !told.truncated && !/[0-9]{16}|[0-9.]e/i.test(text)) {
    try {
      text = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // It says that it is JSON, and is not: as it stands.
    }
  }
  const ends = told.ttl_ms != null ? `in ${age(Number(told.ttl_ms) / 1000)}` : told.expires_ms != null ? time(told.expires_ms)
    : told.lease != null ? `with lease ${told.lease}` : "never";
  return [
    element("h2", {}, "Key"),
    facts([["Key", code(told.key)], ["Type", `${told.type} (flags ${told.flags})`], ["Bytes", size(told.bytes)],
      ["Version", code(told.version)], ["Written (UTC)", time(told.modified_ms)], ["Ends (UTC)", ends],
      ["Shown as", told.encoding + (told.truncated ? ", the beginning only" : "")]]),
    element("pre", { tabindex: "0" }, text),
  ];
}

function live() {
  const keyspace = keyspaceField(state.watched?.keyspace ?? "default");
  const prefix = element("input", { size: 40, spellcheck: "false", autocomplete: "off", value: state.watched?.prefix ?? "" });
  const list = element("div", { "aria-live": "off" });
  const draw = () => {
    const row = (event) => [event.at, event.event, code(event.key), event.type ?? "-", size(event.bytes), event.version];
    const heads = [["Seen (UTC)"], ["What"], ["Key"], ["Type"], ["Bytes", true], ["Version", true]];
    list.replaceChildren(table(heads, state.events.map(row).reverse(), state.watched ? "nothing has happened yet" : "nothing is watched"));
  };
  const submit = (event) => {
    event.preventDefault();
    [state.watched, state.events] = [{ keyspace: keyspace.value, prefix: prefix.value }, []];
    follow(`?${inQuery(keyspace.value)}&prefix=${encodeURIComponent(prefix.value)}`);
    draw();
  };
  const stop = () => {
    state.watched = null;
    follow("");
    draw();
  };
  main.replaceChildren(
    element("form", { submit }, element("label", {}, "Keyspace", keyspace), element("label", {}, "Prefix", prefix),
      element("button", {}, "Watch"), element("button", { type: "button", click: stop }, "Stop")),
    list,
  );
  draw();
  return { hear: (name) => name === "changes" && draw() };
}

function node() {
  const place = element("div", {});
  main.replaceChildren(place);
  const flat = (told, path = "") => Object.entries(told).flatMap(([name, value]) => {
    const whole = path + name;
    if (value !== null && typeof value === "object" && Object.keys(value).length) return flat(value, `${whole}.`);
    return [[whole, code(value !== null && typeof value === "object" ? "none" : String(value))]];
  });
  const draw = () => {
    if (!state.status) return;
    const links = element("p", {}, `Up for ${age(state.status.uptime_seconds)}. `, element("a", { href: "/healthz" }, "/healthz"), " ",
      element("a", { href: "/readyz" }, "/readyz"), state.token ? "" : " ", state.token ? "" : element("a", { href: "/metrics" }, "/metrics"));
    place.replaceChildren(element("h2", {}, "Status"), links, facts(flat(state.status)));
  };
  draw();
  return { hear: (name) => name === "status" && draw() };
}

const views = { cluster, keys, live, node };

function show() {
  const name = location.hash.slice(1);
  if (name === "main") return;
  const chosen = Object.hasOwn(views, name) ? name : "cluster";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${chosen}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  state.view?.leave?.();
  if (!state.stream || state.stream.signal.aborted) follow("");
  state.view = views[chosen]();
}

addEventListener("hashchange", show);
show();
