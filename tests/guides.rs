//! The guides keep their word: every command in them is run, in order, as a reader would paste it.
//!
//! Blocks marked `sh` are run by one shell on one platform, so that what a block sets is there for
//! the next. Blocks of any other mark are for reading. The guides name the address that
//! `comanda up` has where nobody chooses another; here it is the test's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::platform::{BINARY, Platform};
use crate::support::topology::Topology;

const ADDRESS: &str = "http://localhost:8080";

/// A block of commands, and the line of the guide that it begins at.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    line: usize,
    text: String,
}

fn blocks(guide: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(guide.lines()) {
        match &mut open {
            None if line == "```sh" => {
                open = Some(Block {
                    line: number + 1,
                    text: String::new(),
                });
            }
            None => {}
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some(block) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
        }
    }
    blocks
}

/// One script that says, before each block, where it stands.
fn script(name: &str, blocks: &[Block], address: &str) -> String {
    // Where a block fails, what earlier ones left in the background ends too.
    let mut script = String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\n");
    for block in blocks {
        script.push_str(&format!("echo '--- {name}:{}' >&2\n", block.line));
        script.push_str(&block.text.replace(ADDRESS, address));
    }
    script
}

fn guide(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    fs::read_to_string(path).expect("the guide")
}

fn follow(name: &str, platform: &Platform) {
    let blocks = blocks(&guide(name));
    assert!(blocks.len() >= 5, "{name} has only {} blocks of commands", blocks.len());
    // PostgreSQL's own user has to get into what is restored here.
    let folder = Platform::new_folder();
    let programs = PathBuf::from(BINARY).parent().expect("its folder").to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let ran = Command::new("bash")
        .args(["-c", &script(name, &blocks, platform.url())])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("COMANDA_DATA", platform.folder())
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    assert!(
        ran.status.success(),
        "{name} does not do what it says: {}\n{}\n{}",
        ran.status,
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_guide_does_what_it_says() {
    follow("operators-guide.md", &Platform::start().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_analysts_guide_does_what_it_says() {
    follow("analysts-guide.md", &Platform::start().await);
}

#[test]
fn a_block_that_fails_is_noticed_and_named() {
    let guide = "# A\n```text\nexit 3\n```\n```sh\necho one\n```\ntext\n```sh\nfalse | cat\necho two\n```\n";
    let blocks = blocks(guide);
    assert_eq!(blocks.iter().map(|block| block.line).collect::<Vec<_>>(), [6, 10]);
    let script = script("a.md", &blocks, "http://127.0.0.1:1");
    let ran = Command::new("bash").args(["-c", &script]).output().expect("bash");
    assert!(!ran.status.success());
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(said.ends_with("--- a.md:10\n"), "{said}");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "one\n");
}
