//! What a run tells: one line of JSON, written by the child, read by the driver.

use std::collections::BTreeMap;

use super::history::Counts;

#[derive(Clone, Debug, Default)]
pub struct Report {
    pub seed: u64,
    pub parameters: String,
    pub counts: Counts,
    /// By the order of [`super::plan::Fault::ALL`].
    pub faults: Vec<u64>,
    /// From the moment when all was healed.
    pub converged_ms: Option<u64>,
    pub lags_ms: Vec<u64>,
    /// What the invariants looked at and let off.
    pub tallies: BTreeMap<String, u64>,
    /// What went over the simulated network.
    pub segments: u64,
    pub virtual_ms: u64,
    pub trace_hash: u64,
    /// Too little happened for the run to tell anything.
    pub is_unknown: bool,
    pub violations: Vec<String>,
}

fn escape(text: &str) -> String {
    text.chars().flat_map(char::escape_default).collect()
}

impl Report {
    pub fn to_json(&self) -> String {
        let Counts { acked, refused, unknown, reads, reads_failed } = self.counts;
        let converged_ms = self.converged_ms.map_or("null".to_string(), |ms| ms.to_string());
        let tallies: Vec<String> = self.tallies.iter().map(|(name, count)| format!("{name}={count}")).collect();
        let violations: Vec<String> = self.violations.iter().map(|text| format!("\"{}\"", escape(text))).collect();
        format!(
            "{{\"seed\":{},\"parameters\":\"{}\",\"acked\":{acked},\"refused\":{refused},\"unknown\":{unknown},\
             \"reads\":{reads},\"reads_failed\":{reads_failed},\"faults\":{:?},\"converged_ms\":{converged_ms},\
             \"lags_ms\":{:?},\"tallies\":\"{}\",\"segments\":{},\"virtual_ms\":{},\"trace_hash\":{},\"is_unknown\":{},\"violations\":[{}]}}",
            self.seed,
            self.parameters,
            self.faults,
            self.lags_ms,
            tallies.join(";"),
            self.segments,
            self.virtual_ms,
            self.trace_hash,
            u8::from(self.is_unknown),
            violations.join(","),
        )
    }

    /// `None`: the line is no report.
    pub fn from_json(line: &str) -> Option<Report> {
        let number = |name: &str| field(line, name)?.parse::<u64>().ok();
        let numbers = |name: &str| -> Option<Vec<u64>> {
            let list = field(line, name)?.strip_prefix('[')?.split(']').next()?;
            Some(list.split(',').filter_map(|number| number.trim().parse().ok()).collect())
        };
        let tallies = field(line, "tallies")?.trim_matches('"').split(';').filter_map(|tally| tally.split_once('='));
        let violations = line.split("\"violations\":[").nth(1)?.strip_suffix("]}")?;
        Some(Report {
            seed: number("seed")?,
            parameters: field(line, "parameters")?.trim_matches('"').to_string(),
            counts: Counts {
                acked: number("acked")?,
                refused: number("refused")?,
                unknown: number("unknown")?,
                reads: number("reads")?,
                reads_failed: number("reads_failed")?,
            },
            faults: numbers("faults")?,
            converged_ms: number("converged_ms"),
            lags_ms: numbers("lags_ms")?,
            tallies: tallies.filter_map(|(name, count)| Some((name.to_string(), count.parse().ok()?))).collect(),
            segments: number("segments")?,
            virtual_ms: number("virtual_ms")?,
            trace_hash: number("trace_hash")?,
            is_unknown: number("is_unknown")? == 1,
            violations: violations
                .split("\",\"")
                .map(|text| text.trim_matches('"').to_string())
                .filter(|text| !text.is_empty())
                .collect(),
        })
    }
}

/// The text of a field up to the next one; names are unique and values hold no `,"`.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let start = line.find(&format!("\"{name}\":"))? + name.len() + 3;
    let rest = &line[start..];
    Some(rest[..rest.find(",\"").unwrap_or(rest.len())].trim())
}
