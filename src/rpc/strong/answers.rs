//! Answers to changes.

use super::{bad, other_answer, other_reply, required, v1};
use crate::{
    error::{Error, ErrorCode, Result},
    replication::strong::{Answer, ClientId, Command, KeyspaceId, LeaseId, Outcome, Reply, Revision},
};

/// # Errors
/// What the group refused.
pub(super) fn encode_submitted(reply: Reply) -> Result<v1::SubmitResponse> {
    use v1::submit_response::Answer as Body;
    let Reply::Done(answer) = reply else { return other_reply(&reply) };
    let body = match answer {
        Answer::Registered(client) => Body::Registered(client.0),
        Answer::Written { revision, outcomes } => Body::Written(v1::WrittenAnswer {
            revision: revision.unwrap_or_default().0,
            outcomes: outcomes.into_iter().map(encode_outcome).collect(),
        }),
        Answer::Leased { lease, ttl_ms, .. } => Body::Leased(v1::LeasedAnswer { lease: lease.0, ttl_ms }),
        Answer::Held { token } => Body::Held(token.0),
        Answer::Queued { ahead } => Body::Queued(ahead),
        Answer::Proclaimed { revision } => Body::Proclaimed(revision.0),
        Answer::Revoked | Answer::Released | Answer::Created(_) | Answer::Dropped | Answer::Compacted => {
            Body::Done(v1::DoneAnswer {})
        }
        Answer::Refused(refusal) => return Err(refusal.into()),
        Answer::Expired(_) => return Err(Error::new(ErrorCode::Internal, "a client was answered as a leader")),
    };
    Ok(v1::SubmitResponse { answer: Some(body) })
}

fn encode_outcome(outcome: Outcome) -> v1::OperationOutcome {
    v1::OperationOutcome { existed: outcome.existed, number: outcome.number }
}

/// The answer to `command`.
///
/// # Errors
/// `MALFORMED_MESSAGE`.
pub(super) fn decode_submitted(command: &Command, response: v1::SubmitResponse) -> Result<Reply> {
    use v1::submit_response::Answer as Body;
    let answer = match (command, required("answer", response.answer)?) {
        (Command::Register, Body::Registered(client)) => Answer::Registered(ClientId(client)),
        (Command::Transact(transaction), Body::Written(written)) => {
            decode_written(transaction.operations.len(), written)?
        }
        (Command::Grant { .. } | Command::KeepAlive { .. }, Body::Leased(leased)) => {
            Answer::Leased { lease: LeaseId(leased.lease), generation: 0, ttl_ms: leased.ttl_ms }
        }
        (Command::Acquire { .. }, Body::Held(token)) => Answer::Held { token: Revision(token) },
        (Command::Acquire { .. }, Body::Queued(ahead)) => Answer::Queued { ahead },
        (Command::Proclaim { .. }, Body::Proclaimed(revision)) => Answer::Proclaimed { revision: Revision(revision) },
        (Command::Revoke { .. }, Body::Done(_)) => Answer::Revoked,
        (Command::Release { .. }, Body::Done(_)) => Answer::Released,
        (Command::CreateKeyspace { .. } | Command::CreateEventual { .. }, Body::Done(_)) => {
            Answer::Created(KeyspaceId::default())
        }
        (Command::DropKeyspace { .. }, Body::Done(_)) => Answer::Dropped,
        (Command::Compact { .. }, Body::Done(_)) => Answer::Compacted,
        _ => return other_answer(),
    };
    Ok(Reply::Done(answer))
}

fn decode_written(operations: usize, written: v1::WrittenAnswer) -> Result<Answer> {
    let count = written.outcomes.len();
    if count != operations {
        return Err(bad("written.outcomes", format!("{count} outcomes of {operations} operations")));
    }
    let revision = (written.revision != 0).then_some(Revision(written.revision));
    let outcome = |outcome: v1::OperationOutcome| Outcome { existed: outcome.existed, number: outcome.number };
    Ok(Answer::Written { revision, outcomes: written.outcomes.into_iter().map(outcome).collect() })
}
