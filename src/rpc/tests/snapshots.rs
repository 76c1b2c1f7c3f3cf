//! The stream of a snapshot: all pieces in order, then the truth about how it ended.

use super::*;

#[tokio::test]
async fn pieces_come_in_order_and_an_error_comes_after_them() {
    for transport in transports() {
        let fixture = Fixture::new(transport).await;
        let mut pieces = open_snapshot(fixture.channel().await).await.unwrap();
        assert_eq!(pieces.next().await.unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(pieces.next().await.unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(pieces.next().await.unwrap_err().code(), ErrorCode::DiskFull);
    }
}

#[tokio::test]
async fn a_node_that_leaves_sends_no_snapshot() {
    let fixture = Fixture::new(simulated()).await;
    let channel = fixture.channel().await;
    fixture.server.leave().await;
    let refused = within(open_snapshot(channel)).await;
    assert_eq!(refused.err().expect("it is refused").code(), ErrorCode::NotRunning);
}
