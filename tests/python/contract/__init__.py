"""What every keyspace promises: one suite over both engines, and over every way to a store."""
