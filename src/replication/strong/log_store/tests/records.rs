//! Records come back as they went in, have one form only, and no bytes make the decoder panic.

use std::collections::BTreeSet;

use openraft::{BasicNode, Membership};

use super::{super::record::decode, *};

fn members() -> impl Strategy<Value = Membership<u64, BasicNode>> {
    let configurations = prop::collection::vec(prop::collection::btree_set(any::<u64>(), 0..4), 0..3);
    (configurations, any::<u64>()).prop_map(|(configurations, learner): (Vec<BTreeSet<u64>>, u64)| {
        let nodes = configurations.iter().flatten().chain([&learner]);
        let nodes: BTreeMap<u64, BasicNode> =
            nodes.map(|node| (*node, BasicNode::new(format!("n{node}:7001")))).collect();
        Membership::new(configurations, nodes)
    })
}

fn record() -> impl Strategy<Value = Record> {
    let id = || (any::<u64>(), any::<u64>(), 0..u64::MAX);
    let id = move || id().prop_map(|(term, node, index)| LogId::new(CommittedLeaderId::new(term, node), index));
    let vote = (any::<u64>(), 1..=u64::MAX, any::<bool>())
        .prop_map(|(term, node, committed)| Vote { committed, ..Vote::new(term, node) });
    let facts = (any::<u64>(), prop::option::of(id()), prop::option::of(vote), prop::option::of(id()));
    let payload = prop_oneof![
        Just(EntryPayload::Blank),
        members().prop_map(EntryPayload::Membership),
        any::<u64>().prop_map(|index| entry(1, index).payload),
    ];
    prop_oneof![
        (id(), payload).prop_map(|(log_id, payload)| Record::Entry(LogEntry { log_id, payload })),
        any::<u64>().prop_map(|since| Record::Truncated { since }),
        facts.prop_map(|(member, purged, vote, committed)| Record::Facts(Facts { member, purged, vote, committed })),
        any::<u64>().prop_map(|member| Record::Begun { member }),
        id().prop_map(Record::Committed),
    ]
}

fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.put(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn a_record_comes_back_and_none_of_its_beginnings_does(record in record()) {
        let bytes = encoded(&record);
        prop_assert_eq!(decode(record.kind(), &bytes), Ok(record.clone()));
        for length in 0..bytes.len() {
            prop_assert!(decode(record.kind(), &bytes[..length]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(kind in 0u8..7, bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(record) = decode(kind, &bytes) {
            prop_assert_eq!(encoded(&record), bytes);
        }
    }
}
