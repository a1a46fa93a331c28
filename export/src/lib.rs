//! The log as a file, a table or a replayed stream.
