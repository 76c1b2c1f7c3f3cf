//! Of eventual keyspaces the machine knows the names and the ids, and nothing that is in them.

use super::*;
use crate::{
    storage::codec::{decode, Stored},
    types::{Edition, Listed, SpaceId},
};

/// One of a few keyspaces, of which the last is eventual.
pub(super) fn create_some(number: u8) -> Command {
    let name = format!("keyspace {number}");
    match number {
        3 => create(&name, 3),
        _ => Command::CreateKeyspace { name },
    }
}

fn create(name: &str, group: u64) -> Command {
    Command::CreateEventual { name: name.into(), group, keep_conflicts: 7 }
}

fn listed(group: u64, keyspace: u32) -> Listed {
    Listed::Eventual { space: SpaceId { group, keyspace }, keep_conflicts: 7 }
}

#[test]
fn the_first_number_of_a_group_stays_and_ids_are_never_used_again() {
    let mut log = Log::new();
    assert_eq!(log.machine.catalogue().group, None);
    assert_eq!(log.run(create("jobs", 11)), Answer::Created(KeyspaceId(2)));
    assert_eq!(log.run(create("jobs", 12)), Answer::Refused(Refusal::KeyspaceExists { keyspace: KeyspaceId(2) }));
    let strong = Command::CreateKeyspace { name: "jobs".into() };
    assert_eq!(log.run(strong), Answer::Refused(Refusal::KeyspaceExists { keyspace: KeyspaceId(2) }));
    let before = log.machine.edition();
    assert_eq!(log.run(Command::DropKeyspace { keyspace: KeyspaceId(2) }), Answer::Dropped);
    assert!(log.machine.edition() > before);
    log.reload();
    let catalogue = log.machine.catalogue();
    assert_eq!((catalogue.edition, catalogue.group), (Edition { made: 2, dropped: 1 }, Some(11)));
    assert!(catalogue.has_dropped(SpaceId { group: 11, keyspace: 2 }));
    assert_eq!(log.run(create("jobs", 13)), Answer::Created(KeyspaceId(3)));
    log.reload();
    let catalogue = log.machine.catalogue();
    assert_eq!(catalogue.keyspaces.get("jobs"), Some(&listed(11, 3)));
    assert_eq!(catalogue.keyspaces.get("first"), Some(&Listed::Strong));
    assert!(!catalogue.has_dropped(SpaceId { group: 11, keyspace: 3 }));
}

#[test]
fn nothing_is_written_to_one_and_no_lock_taken() {
    let mut log = Log::new();
    log.run(create("jobs", 11));
    let lease = log.grant(1000);
    let keyspace = KeyspaceId(2);
    let unknown = Answer::Refused(Refusal::UnknownKeyspace { keyspace });
    let operations = vec![put("k", "v", Lifetime::Forever)];
    assert_eq!(log.run(Command::Transact(Transaction { keyspace, guards: Vec::new(), operations })), unknown);
    let lock = LockName { keyspace, name: key("l") };
    assert_eq!(log.run(Command::Acquire { lock, lease, value: value("who"), wait: true }), unknown);
    let facts = log.machine.keyspaces().map(|(_, facts)| (facts.name, facts.consistency, facts.keys, facts.bytes));
    let facts: Vec<_> = facts.collect();
    assert_eq!(facts, [("first".into(), Consistency::Strong, 0, 0), ("jobs".into(), Consistency::Eventual, 0, 0)]);
    assert_eq!(log.machine.consistency_of("jobs"), Some(Consistency::Eventual));
    assert_eq!(log.machine.consistency_of("none"), None);
}

/// Changing these bytes needs a new version of the log.
#[test]
fn golden_bytes_of_a_creation() {
    let command = create("jobs", 0x0102);
    let mut bytes = Vec::new();
    command.put(&mut bytes);
    let wanted = [&[13, 4][..], b"jobs", &[2, 1, 0, 0, 0, 0, 0, 0], &[7]].concat();
    assert_eq!(bytes, wanted);
    assert_eq!(decode::<Command>("command", &bytes), Ok(command));
}
