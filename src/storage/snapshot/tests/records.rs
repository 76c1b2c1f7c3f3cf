//! Records come out of blocks as they went in; blocks of anything else are refused.

use super::*;
use crate::{
    limits::SNAPSHOT_BLOCK_BYTES_TARGET,
    storage::codec::tests::{bytes, state_record},
    types::{Dot, Key, Record, Sequence, StateRecord, Timestamp, Value},
};

fn put(disk: &Arc<dyn Disk>, records: &[StateRecord]) -> Result<u64> {
    let mut writer = SnapshotWriter::create(disk, dir(), &header(1))?;
    let mut blocks = RecordBlocks::new(3, 4);
    for StateRecord { key, record } in records {
        blocks.push(&mut writer, key, record)?;
    }
    blocks.flush(&mut writer)?;
    writer.finish()
}

fn get(disk: &dyn Disk) -> Result<(Vec<StateRecord>, Totals)> {
    let mut reader = SnapshotReader::open(disk, &dir().join(file_name(1)))?;
    let mut records = Vec::new();
    while let Some(block) = reader.next_block()? {
        assert_eq!((block.kind, block.partition), (3, 4));
        for item in records_in(&block) {
            let (key, record) = item?;
            records.push(StateRecord { key, record });
        }
    }
    Ok((records, reader.totals()))
}

proptest! {
    #[test]
    fn records_come_back_in_their_order(records in prop::collection::vec(state_record(), 0..6)) {
        let (sim, disk) = disk(1);
        put(&disk, &records).unwrap();
        let (found, totals) = get(&sim).unwrap();
        prop_assert_eq!((totals.records, totals.blocks), (records.len() as u64, u64::from(!records.is_empty())));
        prop_assert_eq!(found, records);
    }

    #[test]
    fn whatever_is_in_a_block_is_read_or_refused_once(records in 0u32..4, payload in bytes()) {
        let block = Block { kind: 3, partition: 4, records, payload: &payload };
        let items: Vec<_> = records_in(&block).collect();
        let errors = items.iter().filter(|item| item.is_err()).count();
        prop_assert!(errors <= 1 && items.iter().rev().skip(1).all(|item| item.is_ok()));
        if errors == 0 {
            prop_assert_eq!(items.len(), records as usize);
        }
    }
}

#[test]
fn many_records_make_several_blocks() {
    let record = Record {
        value: Some(Value::new(&[7; 1000]).unwrap()),
        flags: 0,
        timestamp: Timestamp(1),
        dot: Dot { node: NodeId(1), sequence: Sequence(1) },
        expires_ms: None,
    };
    let count = 3 * SNAPSHOT_BLOCK_BYTES_TARGET / 1000;
    let key = |number: usize| Key::new(&(number as u64).to_be_bytes()).unwrap();
    let records: Vec<_> = (0..count).map(|number| StateRecord { key: key(number), record: record.clone() }).collect();
    let (sim, disk) = disk(1);
    put(&disk, &records).unwrap();
    let (found, totals) = get(&sim).unwrap();
    assert_eq!((found == records, totals.blocks), (true, 4));
}

#[test]
fn a_block_with_another_count_is_refused() {
    let mut payload = Vec::new();
    let record = Record {
        value: None,
        flags: 0,
        timestamp: Timestamp(1),
        dot: Dot { node: NodeId(1), sequence: Sequence(1) },
        expires_ms: None,
    };
    crate::storage::codec::put_keyed(&mut payload, &Key::new(b"k").unwrap(), &record);
    let errors = |records| {
        let block = Block { kind: 3, partition: 4, records, payload: &payload };
        records_in(&block).filter_map(|item| item.err()).map(|error| error.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(errors(1), [""; 0]);
    assert_eq!(errors(0), ["snapshot: there are more records in a block than it says"]);
    assert_eq!(errors(2), ["snapshot: a record: key: the bytes end within it"]);
}
