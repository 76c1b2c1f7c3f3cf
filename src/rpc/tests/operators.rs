//! What operators look at: the sizes of keys, and samples of the calls.

use super::*;
use crate::{
    limits::{MONITORS_MAX, PAGE_KEYS_MAX},
    types::{ClientName, Fold, KeyRange, Sampling, Survey, SurveyQuery, SHARE_WHOLE},
    wire::v1,
};

fn query(keyspace: &str, prefix: &[u8], top: usize) -> SurveyQuery {
    SurveyQuery { keyspace: keyspace.into(), range: KeyRange::prefix(prefix), share: SHARE_WHOLE, top }
}

async fn put(channel: &Channel, key: &str, value_bytes: usize) {
    let (key, value) = (key.as_bytes().to_vec().into(), vec![b'x'; value_bytes].into());
    KvClient::new(channel.clone()).put(v1::PutRequest { key, value, ..Default::default() }).await.unwrap();
}

/// All pages.
async fn survey_all(channel: &Channel, mut query: SurveyQuery) -> Vec<Survey> {
    let mut pages = Vec::new();
    loop {
        let page = within(node_survey(channel.clone(), query.clone())).await.unwrap();
        query.range.start = page.next.clone();
        pages.push(page);
        if query.range.start.is_none() {
            return pages;
        }
    }
}

#[tokio::test]
async fn a_survey_tells_sizes_page_by_page() {
    for transport in transports() {
        let fixture = Fixture::new(transport).await;
        let channel = fixture.channel().await;
        for at in 0..PAGE_KEYS_MAX + 5 {
            put(&channel, &format!("a/{at:05}"), 2).await;
        }
        put(&channel, "b/large", 500).await;
        let pages = survey_all(&channel, query("", b"", 1)).await;
        assert_eq!(pages.len(), 2);
        assert_eq!(pages.iter().map(|page| page.visited).sum::<u64>(), PAGE_KEYS_MAX as u64 + 6);
        assert_eq!(pages[1].largest, [("b/large".into(), 500)]);
        let fold = |prefix: &str, keys, bytes| Fold { prefix: prefix.as_bytes().to_vec(), keys, bytes };
        assert_eq!(pages[1].folds, [fold("a/", 5, 5 * 9), fold("b/", 1, 507)]);
        let below = survey_all(&channel, query("default", b"b", 7)).await;
        assert_eq!((below.len(), below[0].visited), (1, 1));
        let unknown = within(node_survey(channel, query("none", b"", 1))).await.unwrap_err();
        assert_eq!(unknown.code(), ErrorCode::UnknownKeyspace);
    }
}

#[tokio::test]
async fn who_listens_is_told_the_calls_that_are_made() {
    for transport in transports() {
        let fixture = Fixture::new(transport).await;
        let channel = fixture.channel().await;
        put(&channel, "before", 1).await;
        let mut pages = within(open_monitor(channel.clone(), Sampling::Share(SHARE_WHOLE))).await.unwrap();
        put(&channel, "k", 7).await;
        let get = |key: &'static str| v1::GetRequest { key: key.as_bytes().into(), ..Default::default() };
        KvClient::new(channel.clone()).get(get("k")).await.unwrap();
        KvClient::new(channel.clone()).get(get("none")).await.unwrap();
        let (mut told, mut seen) = (Vec::new(), 0);
        while told.len() < 3 {
            let page = within(pages.next()).await.unwrap();
            seen += page.seen;
            told.extend(page.calls.into_iter().map(|(call, _)| (call.kind, call.keyspace, call.key, call.value_bytes)));
        }
        let expected = [("put", "k", 7), ("get", "k", 7), ("get", "none", 0)];
        let expected = expected.map(|(kind, key, bytes)| (kind.into(), "default".to_string(), Bytes::from(key), bytes));
        assert_eq!(told, expected);
        assert_eq!(seen, 3);
        drop(pages);
        // The server notices by and by.
        let nobody_listens = async {
            while fixture.host.keyspace.tap().is_on() {
                tokio::task::yield_now().await;
            }
        };
        within(nobody_listens).await;
    }
}

#[tokio::test]
async fn a_client_that_has_a_name_is_named() {
    let fixture = Fixture::new(simulated()).await;
    let channel = fixture.channel().await;
    let mut pages = within(open_monitor(channel.clone(), Sampling::Share(SHARE_WHOLE))).await.unwrap();
    let name: ClientName = "worker 7".parse().unwrap();
    for name in [Some(&name), None] {
        let get = v1::GetRequest { key: b"k".as_slice().into(), ..Default::default() };
        let operation = v1::Operation { id: 1, operation: Some(v1::operation::Operation::Get(get)) };
        let request = v1::PipelineRequest { operations: vec![operation] };
        let mut answers = within(open_pipeline(channel.clone(), name, tokio_stream::once(request))).await.unwrap();
        assert!(within(answers.next()).await.unwrap().is_some());
    }
    put(&channel, "k", 1).await;
    let mut told = Vec::new();
    while told.len() < 3 {
        told.extend(within(pages.next()).await.unwrap().calls.into_iter().map(|(call, _)| call.client));
    }
    assert_eq!(told, [Some(name), None, None]);
}

#[tokio::test]
async fn so_many_listen_and_each_is_told_when_the_node_leaves() {
    let fixture = Fixture::new(simulated()).await;
    let channel = fixture.channel().await;
    let mut listening = Vec::new();
    for _ in 0..MONITORS_MAX {
        listening.push(within(open_monitor(channel.clone(), Sampling::Rate(1))).await.unwrap());
    }
    let refused = within(open_monitor(channel.clone(), Sampling::Rate(1))).await;
    assert_eq!(refused.err().expect("it is refused").code(), ErrorCode::Overloaded);
    fixture.server.leave().await;
    for mut pages in listening {
        let ended = loop {
            if let Err(error) = within(pages.next()).await {
                break error;
            }
        };
        assert_eq!(ended.code(), ErrorCode::NotRunning);
    }
    for code in [
        within(open_monitor(channel.clone(), Sampling::Rate(1))).await.err().expect("it is refused").code(),
        within(node_survey(channel, query("", b"", 1))).await.unwrap_err().code(),
    ] {
        assert_eq!(code, ErrorCode::NotRunning);
    }
}
