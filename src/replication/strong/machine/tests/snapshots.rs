//! ST-7: a snapshot is the state, to the last answer; what is damaged is refused.

use super::*;
use crate::{
    limits::STRONG_CHUNK_BYTES_MAX,
    storage::codec::{Reader, Stored},
    ErrorCode,
};

/// A state with something of everything in it.
fn everything() -> Log {
    let mut log = Log::new();
    let client = log.register();
    let leases: Vec<LeaseId> = (0..3).map(|_| log.grant(1000)).collect();
    log.request(RequestId { client, number: 1 }, transaction(Vec::new(), vec![increment("n", 7)]));
    for &lease in &leases {
        let acquire = Command::Acquire { lock: lock("l"), lease, value: value("who"), wait: true };
        log.request(RequestId { client, number: 1 + lease.0 }, acquire);
    }
    log.written(vec![put("a", "1", Lifetime::Ttl(500)), put("b", "2", Lifetime::Lease(leases[0]))]);
    log.run(Command::CreateKeyspace { name: "second".into() });
    log.run(Command::CreateEventual { name: "third".into(), group: 0xabcd, keep_conflicts: 7 });
    log.pass(10);
    log.written(vec![put("a", "3", Lifetime::Forever), delete("n")]);
    log.run(Command::Compact { revision: Revision(1) });
    log.elect(77);
    log
}

fn chunks(machine: &Machine) -> Vec<Vec<u8>> {
    machine.capture().chunks().collect()
}

fn restore(chunks: &[Vec<u8>]) -> crate::Result<Machine> {
    let mut restore = Restore::new();
    chunks.iter().try_for_each(|chunk| restore.push(chunk))?;
    restore.finish()
}

fn code(result: crate::Result<Machine>) -> Option<ErrorCode> {
    result.err().map(|error| error.code())
}

#[test]
fn st_7_a_snapshot_is_the_state_and_one_form_of_it() {
    let log = everything();
    let restored = restore(&chunks(&log.machine)).unwrap();
    assert!(restored == log.machine);
    assert_eq!(chunks(&restored), chunks(&log.machine));
    assert_eq!(restored.state_hash(), log.machine.state_hash());
    let empty = Machine::new(Bounds { clients: 3, ..Bounds::default() });
    assert!(reload(&empty) == empty);
}

#[test]
fn st_7_the_hash_tells_states_apart() {
    let first = everything();
    let mut others = [everything(), everything(), everything(), everything()];
    assert!(others.iter().all(|log| log.machine.state_hash() == first.machine.state_hash()));
    others[0].pass(1);
    others[1].put("a", "4");
    others[2].machine.state.clients = Default::default();
    others[3].machine.state.log_hash ^= 1;
    let hashes: std::collections::BTreeSet<u64> =
        others.iter().chain([&first]).map(|log| log.machine.state_hash()).collect();
    assert_eq!(hashes.len(), 5);
}

#[test]
fn a_snapshot_stays_what_it_was_while_the_machine_goes_on() {
    let mut log = everything();
    let (snapshot, before) = (log.machine.capture(), log.machine.clone());
    let first: Vec<Vec<u8>> = snapshot.chunks().collect();
    for round in 0..100 {
        log.put(&format!("k{}", round % 7), &round.to_string());
        log.pass(100);
    }
    assert_eq!(snapshot.chunks().collect::<Vec<_>>(), first);
    assert_eq!(snapshot.applied(), before.applied());
    assert!(restore(&first).unwrap() == before);
}

#[test]
fn a_large_state_travels_in_bounded_chunks() {
    let mut log = Log::new();
    let megabyte = "x".repeat(crate::limits::VALUE_BYTES_MAX);
    for round in 0..3 {
        log.put("large", &megabyte);
        log.written((0..5000).map(|at| put(&format!("{at:05}"), &round.to_string(), Lifetime::Forever)).collect());
    }
    let chunks = chunks(&log.machine);
    assert!(chunks.len() >= 4, "{} chunks", chunks.len());
    assert!(chunks.iter().all(|chunk| chunk.len() <= STRONG_CHUNK_BYTES_MAX));
    assert!(restore(&chunks).unwrap() == log.machine);
}

#[test]
fn a_chunk_that_is_changed_lost_repeated_or_exchanged_is_refused() {
    let log = everything();
    let good = chunks(&log.machine);
    for (at, chunk) in good.iter().enumerate() {
        for bit in 0..chunk.len() * 8 {
            let mut bad = good.clone();
            bad[at][bit / 8] ^= 1 << (bit % 8);
            let found = code(restore(&bad));
            assert_eq!(found, Some(ErrorCode::Corrupt), "bit {bit} of chunk {at}");
        }
        for length in 0..chunk.len() {
            let mut bad = good.clone();
            bad[at].truncate(length);
            assert_eq!(code(restore(&bad)), Some(ErrorCode::Corrupt), "chunk {at} cut at {length}");
        }
        let mut lost = good.clone();
        lost.remove(at);
        assert_eq!(code(restore(&lost)), Some(ErrorCode::Corrupt), "without chunk {at}");
        let mut twice = good.clone();
        twice.insert(at, chunk.clone());
        assert_eq!(code(restore(&twice)), Some(ErrorCode::Corrupt), "chunk {at} twice");
    }
    let mut mixed = good.clone();
    let mut other = everything();
    other.put("a", "other");
    mixed[0] = chunks(&other.machine).remove(0);
    assert_eq!(code(restore(&mixed)), Some(ErrorCode::Corrupt), "the header of another snapshot");
    assert!(restore(&good).is_ok());
}

#[test]
fn a_snapshot_of_a_later_version_says_so() {
    let log = everything();
    let mut later = chunks(&log.machine);
    let (header, _) = crate::storage::envelope::seal(snapshot::MAGIC, snapshot::FORMAT_VERSION + 1, b"later");
    later[0] = header;
    assert_eq!(code(restore(&later)), Some(ErrorCode::FormatTooNew));
}

/// Changing these bytes needs a new version of the format.
#[test]
fn golden_bytes() {
    let mut log = Log::new();
    let client = log.register();
    let lease = log.grant(300);
    let operations = vec![put("k", "ada", Lifetime::Lease(lease))];
    log.request(RequestId { client, number: 9 }, transaction(Vec::new(), operations));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let chunks = chunks(&log.machine);
    let header = concat!(
        "6b76737472670d0a", // magic
        "01000000",         // version
        "03000000",         // length of the body
        "010104",           // applied: term 1, index 4
        "8cb40955",         // check
    );
    assert_eq!(hex(&chunks[0]), header);
    let pieces = concat!(
        "8000000009000000a2a8de41", // length, pieces, check
        "01",                       // head: bounds
        "a08d0680808020c0cf24904e800480808020a08d06904e80088008",
        "010104ca6b1e64759455e8",     // applied, hash of the log
        "01c0843d00",                 // clock
        "0100",                       // revision, compacted
        "0101000102",                 // last keyspace, lease, ticket, client, request
        "0201ac02ac0200",             // lease 1: 300 ms, until 300, never renewed
        "0301056669727374",           // keyspace 1, "first"
        "0401016b0101036164610001",   // "k" at revision 1: "ada", no flags, made at 1
        "0140420f00000000000201",     // written once, when, until lease 1 ends
        "06010001",                   // client 1: all answers kept, active at 1
        "07090201010100",             // its request 9: written at revision 1, one outcome
        "080140420f0000000000009403", // transaction 1: when, at 0, 404 bytes
        "090101016b",                 // its place: keyspace 1, data, "k"
        "0a08b17c1c94dfe53be3",       // the end: 8 pieces, hash
    );
    assert_eq!(hex(&chunks[1]), pieces);
    assert_eq!(chunks.len(), 2);
}

/// The pieces of a state with something of everything, as bytes, some moved, repeated or changed.
pub(super) fn shuffled(order: &[(usize, usize, u8)]) -> Vec<Vec<u8>> {
    let log = everything();
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    for chunk in &chunks(&log.machine)[1..] {
        let mut reader = Reader::new(&chunk[snapshot::CHUNK_HEAD_BYTES..]);
        while !reader.is_empty() {
            let mut bytes = Vec::new();
            snapshot::Piece::take(&mut reader).unwrap().put(&mut bytes);
            pieces.push(bytes);
        }
    }
    pieces.pop();
    for &(from, to, change) in order {
        let mut piece = pieces[from % pieces.len()].clone();
        let at = usize::from(change) % piece.len();
        piece[at] ^= change;
        match change % 3 {
            0 => pieces.insert(to % pieces.len(), piece),
            1 => drop(pieces.remove(from % pieces.len())),
            _ => {
                let at = from % pieces.len();
                pieces[at] = piece;
            }
        }
    }
    pieces
}

/// What is made of pieces under good checks and a good hash.
pub(super) fn of_pieces(pieces: &[Vec<u8>]) -> crate::Result<Machine> {
    let log = everything();
    let header = chunks(&log.machine).remove(0);
    let mut chunk = vec![0; snapshot::CHUNK_HEAD_BYTES];
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    for piece in pieces {
        hasher.update(piece);
        chunk.extend_from_slice(piece);
    }
    snapshot::Piece::End { pieces: pieces.len() as u64, hash: hasher.digest() }.put(&mut chunk);
    let length = (chunk.len() - snapshot::CHUNK_HEAD_BYTES) as u32;
    chunk[..4].copy_from_slice(&length.to_le_bytes());
    chunk[4..8].copy_from_slice(&(pieces.len() as u32 + 1).to_le_bytes());
    let before = u32::from_le_bytes(header[header.len() - 4..].try_into().unwrap());
    let check = snapshot::chunk_check(before, &chunk);
    chunk[8..snapshot::CHUNK_HEAD_BYTES].copy_from_slice(&check.to_le_bytes());
    restore(&[header, chunk])
}
