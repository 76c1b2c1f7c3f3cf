//! Compiles `proto/` in pure Rust (protox), so that building kvstore needs no protoc.

#![allow(clippy::disallowed_methods, reason = "a build script reads and writes files")]

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 5] = [
    "kvstore/v1/kv.proto",
    "kvstore/v1/strong.proto",
    "kvstore/v1/peer.proto",
    "kvstore/v1/group.proto",
    "kvstore/v1/admin.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("kvstore.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .extern_path(".kvstore.v1.Change", "crate::wire::change::Change")
        .compile_fds(descriptors)?;
    Ok(())
}
