//! The nodes that a client may turn to, into a message and out of it.

use super::v1;
use crate::{
    error::Result,
    limits::MEMBERS_MAX,
    types::{ClusterNode, ClusterView},
    wire::convert::{check_count, to_address, to_cluster, to_node, Converted},
};

/// The nodes as a message.
pub fn encode_nodes(view: ClusterView) -> v1::NodesResponse {
    let ClusterView { cluster, serving, nodes } = view;
    let encode =
        |ClusterNode { node, address, gone }| v1::ClusterNode { node_id: node.0, address: address.to_string(), gone };
    v1::NodesResponse { cluster, serving, nodes: nodes.into_iter().map(encode).collect() }
}

/// The nodes out of a message.
///
/// # Errors
/// `MALFORMED_MESSAGE`, naming the field.
pub fn decode_nodes(response: v1::NodesResponse) -> Result<ClusterView> {
    Ok(to_view(response)?)
}

fn to_view(response: v1::NodesResponse) -> Converted<ClusterView> {
    let v1::NodesResponse { cluster, serving, nodes } = response;
    // The node itself comes on top of those it remembers.
    check_count("nodes", nodes.len(), MEMBERS_MAX + 1)?;
    let to_node = |node: v1::ClusterNode| {
        let (id, address) = (to_node("nodes.node_id", node.node_id)?, to_address("nodes.address", &node.address)?);
        Ok(ClusterNode { node: id, address, gone: node.gone })
    };
    let nodes = nodes.into_iter().map(to_node).collect::<Converted<Vec<_>>>()?;
    Ok(ClusterView { cluster: to_cluster("cluster", cluster)?, serving, nodes })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        error::ErrorCode,
        types::{Address, NodeId},
    };

    fn view() -> impl Strategy<Value = ClusterView> {
        let node = (1..u64::MAX, 1..u16::MAX, any::<bool>()).prop_map(|(id, port, gone)| ClusterNode {
            node: NodeId(id),
            address: Address::new("h", port).unwrap(),
            gone,
        });
        let nodes = prop::collection::vec(node, 0..9);
        ("[a-z]{0,9}", any::<bool>(), nodes).prop_map(|(cluster, serving, nodes)| ClusterView {
            cluster,
            serving,
            nodes,
        })
    }

    proptest! {
        #[test]
        fn the_nodes_come_back_as_they_went_in(view in view()) {
            prop_assert_eq!(decode_nodes(encode_nodes(view.clone())).unwrap(), view);
        }
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        let node = |node_id, address: &str| v1::ClusterNode { node_id, address: address.into(), gone: false };
        let with = |nodes| v1::NodesResponse { cluster: "c".into(), serving: true, nodes };
        let cases = [
            (with(vec![node(0, "h:1")]), "nodes.node_id"),
            (with(vec![node(1, "h")]), "nodes.address"),
            (with(vec![node(1, "h:1"); MEMBERS_MAX + 2]), "nodes: "),
            (v1::NodesResponse { cluster: "c".repeat(1000), ..with(Vec::new()) }, "cluster"),
        ];
        for (response, field) in cases {
            let error = decode_nodes(response).unwrap_err();
            assert_eq!(error.code(), ErrorCode::MalformedMessage);
            assert!(error.message().starts_with(field), "{error}");
        }
    }
}
