//! Looks at a log that is not open, without changing anything.

use std::path::{Path, PathBuf};

use super::{
    format::segment_name,
    recovery,
    segment::{Next, Segment},
    Position,
};
use crate::{
    env::Disk,
    error::{ErrorCode, Result},
};

/// What can be read of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its file.
    pub path: PathBuf,
    /// Its first entry, according to its name.
    pub first: Position,
    /// The entry after the last that can be read.
    pub end: Position,
    /// Batches that can be read, marks included.
    pub batches: u64,
    /// Bytes of headers and batches that can be read.
    pub bytes: u64,
    /// The end of the log, torn off by a crash: from this byte on. The next start cuts it.
    pub torn_at: Option<u64>,
    /// What is damaged.
    pub damage: Option<Damage>,
}

/// A place that was synced once and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where in the file.
    pub offset: u64,
    /// What is wrong there.
    pub why: String,
}

/// Reads all segments of the log in the directory and says what it found, in their order.
///
/// # Errors
/// `DISK_FAILED` when the disk refuses; damage is in the reports.
pub fn verify(disk: &dyn Disk, dir: &Path) -> Result<Vec<SegmentReport>> {
    let segments = recovery::list(disk, dir)?;
    let mut log_id = None;
    let mut reports = Vec::with_capacity(segments.len());
    for (number, &first) in segments.iter().enumerate() {
        let path = dir.join(segment_name(first));
        let mut report = SegmentReport { path, first, end: first, batches: 0, bytes: 0, torn_at: None, damage: None };
        match recovery::open(disk, dir, first) {
            Ok(segment) if *log_id.get_or_insert(segment.header.log_id) != segment.header.log_id => {
                report.damage = Some(Damage { offset: 0, why: "it belongs to another log".to_string() });
            }
            Ok(segment) => read(segment, segments.get(number + 1).copied(), &mut report)?,
            Err(error) if error.code() == ErrorCode::Corrupt => {
                report.damage = Some(Damage { offset: 0, why: error.message().to_string() });
            }
            Err(error) => return Err(error),
        }
        reports.push(report);
    }
    Ok(reports)
}

fn read(mut segment: Segment, ends_at: Option<Position>, report: &mut SegmentReport) -> Result<()> {
    let torn = loop {
        if ends_at == Some(segment.next) {
            break None;
        }
        let why = match segment.next_batch()? {
            Next::Batch(_) => {
                report.batches += 1;
                continue;
            }
            Next::End if ends_at.is_none() => break None,
            Next::End => "a batch is missing",
            Next::Bad(why) => why,
        };
        break Some(why);
    };
    (report.end, report.bytes) = (segment.next, segment.offset);
    let Some(why) = torn else { return Ok(()) };
    match ends_at.is_some() || segment.proof_of_damage()?.is_some() {
        true => report.damage = Some(Damage { offset: segment.offset, why: why.to_string() }),
        false => report.torn_at = Some(segment.offset),
    }
    Ok(())
}
