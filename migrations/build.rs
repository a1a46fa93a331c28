//! Embeds the SQL again when a file is added: the macro alone watches only files that it has seen.

fn main() {
    for folder in ["control", "event_store", "read_store"] {
        println!("cargo:rerun-if-changed={folder}");
    }
}
