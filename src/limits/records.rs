//! Bounds of how the records of a partition lie in memory. None of them can be noticed from outside but by time and
//! memory.

/// Parts of the hash table of one partition, each of which grows alone: a growth looks at one of so many records of the
/// partition, under its lock. More would cost an empty store memory and push the list of parts out of the processor's
/// caches; fewer make longer pauses.
pub const TABLE_SEGMENTS: usize = 64;

/// Records in a run of the order. Longer ones cost a new key more moves, shorter ones cost memory: a run takes about 80
/// bytes beside its records.
pub const RUN_SLOTS_MAX: usize = 128;

/// Records by which the room of a run grows, 8 bytes each. More waste memory, fewer allocate more often.
pub const RUN_SLOTS_STEP: usize = 16;
