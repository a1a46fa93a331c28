//! Memory that the cluster's processes use.

use std::path::Path;

use serde::Serialize;

use crate::{Folder, Info, Role, leftovers};

/// Memory of one part of the cluster with its helpers: its proportional share (PSS), so that shared
/// pages count once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memory {
    pub name: String,
    pub kilobytes: u64,
}

/// Of every part that runs.
pub fn of_cluster(info: &Info, folder: &Folder) -> Vec<Memory> {
    let parts = info.processes.iter();
    parts
        .map(|process| {
            let place = match process.role {
                Role::Postgres => folder.postgres(&process.name),
                Role::Kafka => process.log.parent().map(Path::to_owned).unwrap_or_default(),
                Role::CommandApi | Role::Relay | Role::Projector | Role::QueryApi | Role::OpsApi | Role::Nginx => {
                    folder.process(&process.name)
                }
            };
            Memory {
                name: process.name.clone(),
                kilobytes: leftovers::find(&[place]).into_iter().map(of_process).sum(),
            }
        })
        .collect()
}

fn of_process(pid: i32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    pss(&rollup).unwrap_or_default()
}

fn pss(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::pss;

    #[test]
    fn given_the_kernels_summary_then_the_proportional_share_is_read() {
        let rollup = "5581 [rollup]\nRss:   900 kB\nPss:   321 kB\nPss_Dirty:  20 kB\n";
        assert_eq!(pss(rollup), Some(321));
        assert_eq!(pss(""), None);
    }
}
