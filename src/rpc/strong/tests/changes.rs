//! Pages of changes: split into messages, put together again, and what is wrong with a message.

use std::collections::VecDeque;

use super::*;
use crate::{
    limits::{KEY_BYTES_MAX, STRONG_MESSAGE_BYTES_MAX, VALUE_BYTES_MAX, WATCH_BUFFER_BYTES_MAX},
    rpc::strong::changes::{decode_watch, encode_page, encode_watch, split_page, Assembly},
};

fn change() -> impl Strategy<Value = Change> {
    let state =
        prop_oneof![item().prop_map(VersionState::Live), Just(VersionState::Deleted), Just(VersionState::Expired),];
    (key(), state, prop::option::of(item())).prop_map(|(key, state, previous)| Change { key, state, previous })
}

/// Transactions with growing revisions, and a revision up to which all is told.
fn page() -> impl Strategy<Value = WatchPage> {
    let transaction = (1u64..4, any::<u64>(), prop::collection::vec(change(), 1..6));
    (prop::collection::vec(transaction, 0..6), 0u64..3, any::<bool>()).prop_map(|(steps, beyond, initial)| {
        let mut revision = 10;
        let told = |(step, time_ms, changes)| {
            revision += step;
            TransactionChanges { revision: Revision(revision), time_ms, changes }
        };
        let transactions = steps.into_iter().map(told).collect();
        WatchPage { transactions, until: Revision(revision + beyond), initial, elapsed_ms: 0 }
    })
}

fn assembled(messages: VecDeque<v1::ChangesPage>) -> Result<Vec<WatchPage>> {
    let mut assembly = Assembly::default();
    let taken = messages.into_iter().map(|message| assembly.take(carried(message)));
    taken.filter_map(Result::transpose).collect()
}

proptest! {
    #[test]
    fn a_page_comes_back_whole_however_it_is_split(page in page(), bytes_target in 1usize..400) {
        let messages = split_page(page.clone(), bytes_target);
        prop_assert!(!messages.is_empty());
        for message in &messages {
            // One change at most beyond the target.
            let changes: Vec<_> = message.transactions.iter().flat_map(|transaction| &transaction.changes).collect();
            let all: usize = changes.iter().map(|change| change.encoded_len()).sum();
            let last = changes.last().map_or(0, |change| change.encoded_len());
            prop_assert!(all - last < bytes_target, "{} bytes before the last change", all - last);
        }
        let pages = assembled(messages).unwrap();
        prop_assert_eq!(pages.last().map(|page| page.until), Some(page.until));
        prop_assert!(pages.iter().all(|part| part.initial == page.initial));
        let told: Vec<_> = pages.into_iter().flat_map(|page| page.transactions).collect();
        prop_assert_eq!(told, page.transactions);
    }

    #[test]
    fn a_watch_that_is_cut_anywhere_goes_on_without_a_gap_and_without_telling_twice(
        page in page(), bytes_target in 1usize..400, cut: prop::sample::Index,
    ) {
        let page = WatchPage { initial: false, ..page };
        let mut messages = split_page(page.clone(), bytes_target);
        messages.truncate(cut.index(messages.len() + 1));
        let pages = assembled(messages).unwrap();
        let until = pages.last().map_or(Revision::ZERO, |page| page.until);
        let mut told: Vec<_> = pages.into_iter().flat_map(|page| page.transactions).collect();
        prop_assert!(told.iter().all(|transaction| transaction.revision <= until));
        told.extend(page.transactions.iter().filter(|transaction| transaction.revision > until).cloned());
        prop_assert_eq!(told, page.transactions);
    }

    #[test]
    fn what_to_watch_comes_back_as_it_went_in(
        keyspace in name(), locks: bool, range in range(), since: Option<u64>, initial: bool,
    ) {
        let space = if locks { Space::Locks } else { Space::Data };
        let watch = GroupWatch { keyspace, space, range, since: since.map(Revision), initial };
        prop_assert_eq!(decode_watch(carried(encode_watch(&watch))), Ok(watch));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut assembly = Assembly::default();
        for part in bytes.chunks(100) {
            drop(v1::ChangesPage::decode(part).map(|page| assembly.take(page)));
        }
        drop(v1::WatchChangesRequest::decode(bytes.as_slice()).map(decode_watch));
    }
}

fn largest(name: u8) -> Change {
    let item = Arc::new(Item {
        value: Value::new(&vec![name; VALUE_BYTES_MAX]).unwrap(),
        flags: u32::MAX,
        created: Revision(u64::MAX),
        modified: Revision(u64::MAX),
        writes: u64::MAX,
        modified_ms: u64::MAX,
        until: Until::Lease(LeaseId(u64::MAX)),
    });
    let key = Key::new(&[name; KEY_BYTES_MAX]).unwrap();
    Change { key, state: VersionState::Live(item.clone()), previous: Some(item) }
}

#[test]
fn the_largest_transaction_fits_into_messages_and_its_past_is_bounded() {
    let count = 40;
    let changes: Vec<Change> = (1..=count).map(largest).collect();
    let transactions = vec![TransactionChanges { revision: Revision(5), time_ms: 1, changes: changes.clone() }];
    let messages = encode_page(WatchPage { transactions, until: Revision(7), initial: false, elapsed_ms: 0 });
    // The last one tells that nothing has happened since.
    assert_eq!(messages.len(), usize::from(count) + 1);
    for message in &messages {
        assert!(message.encoded_len() <= STRONG_MESSAGE_BYTES_MAX, "{} bytes", message.encoded_len());
    }
    assert_eq!(messages.iter().map(|message| message.until).collect::<Vec<_>>()[..2], [4, 4]);
    let mut assembly = Assembly::default();
    let pages: Vec<WatchPage> = messages.into_iter().filter_map(|message| assembly.take(message).unwrap()).collect();
    let [page, end] = <[WatchPage; 2]>::try_from(pages).unwrap();
    assert_eq!((page.until, page.transactions.len()), (Revision(5), 1));
    assert_eq!((end.until, end.transactions.len()), (Revision(7), 0));
    let told = &page.transactions[0].changes;
    let without_past = |change: &Change| Change { previous: None, ..change.clone() };
    assert!(told.iter().map(without_past).eq(changes.iter().map(without_past)), "what has changed is not told");
    let past: usize = told.iter().filter(|change| change.previous.is_some()).count();
    let fits = WATCH_BUFFER_BYTES_MAX / (2 * VALUE_BYTES_MAX + KEY_BYTES_MAX);
    assert_eq!(past, fits);
}

#[test]
fn a_bad_field_of_a_page_is_named() {
    let put = v1::KeyChange {
        r#type: v1::key_change::Type::Put.into(),
        key: Bytes::from_static(b"k"),
        item: Some(v1::StrongItem::default()),
        previous: None,
    };
    let told = |revision, changes| v1::TransactionChanges { revision, time_ms: 1, changes };
    let message = |transactions, until| v1::ChangesPage { transactions, until, ..v1::ChangesPage::default() };
    let one = |change| message(vec![told(1, vec![change])], 1);
    let without_item = v1::KeyChange { item: None, ..put.clone() };
    let delete = v1::KeyChange { r#type: v1::key_change::Type::Delete.into(), ..put.clone() };
    let unknown = |kind| v1::KeyChange { r#type: kind, ..put.clone() };
    let unfinished = |transactions| v1::ChangesPage { unfinished: true, ..message(transactions, 0) };
    let cases = [
        (one(without_item), "transactions[0].changes[0].item"),
        (one(delete), "transactions[0].changes[0].item"),
        (one(unknown(0)), "transactions[0].changes[0].type"),
        (one(unknown(9)), "transactions[0].changes[0].type"),
        (message(vec![told(2, vec![put.clone()])], 1), "until"),
        (unfinished(vec![]), "unfinished"),
    ];
    for (message, field) in cases {
        let error = Assembly::default().take(message).expect_err(field);
        assert_eq!(error.code(), ErrorCode::MalformedMessage);
        assert!(error.message().starts_with(field), "{error} does not begin with {field}");
    }
    let empty = v1::KeyChange { key: Bytes::new(), ..put.clone() };
    assert_eq!(Assembly::default().take(one(empty)).unwrap_err().code(), ErrorCode::KeyEmpty);

    // What was begun has to go on.
    for next in [message(vec![], 3), message(vec![told(2, vec![put.clone()])], 3)] {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.take(unfinished(vec![told(1, vec![put.clone()])])), Ok(None));
        assert_eq!(assembly.take(next).unwrap_err().code(), ErrorCode::MalformedMessage);
    }
    let nowhere = decode_watch(v1::WatchChangesRequest::default()).unwrap_err();
    assert_eq!(nowhere.code(), ErrorCode::InvalidArgument);
}
