//! What operators look at besides the state of nodes: how much room keys take, and which calls are made.

use std::time::Duration;

use super::Client;
use crate::{
    error::Result,
    rpc::{node_survey, open_monitor, MonitorPages},
    types::{Sampling, Survey, SurveyQuery},
    wire::admin::{check_sampling, check_survey},
};

impl Client {
    /// How much room keys take at the contacted node, one page. To be polled on a tokio runtime with a timer.
    ///
    /// # Errors
    /// Those of [`Client::status`]; `INVALID_ARGUMENT`, `UNKNOWN_KEYSPACE`.
    pub async fn survey(&self, query: SurveyQuery, timeout: Option<Duration>) -> Result<Survey> {
        check_survey(&query)?;
        self.ask("survey", timeout, |channel| node_survey(channel, query.clone())).await
    }

    /// Begins to listen to the calls that are made at the contacted node, and at no other. It ends with the connection. To be
    /// polled on a tokio runtime with a timer.
    ///
    /// # Errors
    /// Those of [`Client::status`]; `INVALID_ARGUMENT`, `OVERLOADED` when too many listen already.
    pub async fn monitor(&self, sampling: Sampling, timeout: Option<Duration>) -> Result<MonitorPages> {
        check_sampling(sampling)?;
        self.ask("monitor", timeout, |channel| open_monitor(channel, sampling)).await
    }
}
