//! What each kernel, and an uplink through a whole node, may cost: instructions and allocations, never times.
//!
//! Instructions as callgrind counts them on x86-64 with AES-NI and AVX2, a tenth above what was counted when the line was
//! last changed. There are two columns, for the two builds that are measured: `release` for records, and that of the tests,
//! which is the one that `cargo xtask check budgets` finds at hand. A line that is exceeded is a regression, or a choice
//! that says so where it changes the line.

/// What one operation of a kernel may cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The kernel.
    pub kernel: &'static str,
    /// Instructions at most, built for release.
    pub release: u64,
    /// Instructions at most, built for tests.
    pub tests: u64,
    /// Allocations at most, and as many frees.
    pub allocations: u64,
}

impl Budget {
    /// Instructions at most, of this build.
    #[must_use]
    pub const fn instructions(&self) -> u64 {
        if cfg!(debug_assertions) { self.tests } else { self.release }
    }
}

const fn budget(kernel: &'static str, release: u64, tests: u64, allocations: u64) -> Budget {
    Budget { kernel, release, tests, allocations }
}

/// Of the kernels.
pub const KERNELS: &[Budget] = &[
    budget("datagram", 4730, 9592, 0),
    budget("base64", 493, 1143, 0),
    budget("phy", 47, 193, 0),
    budget("hop", 426, 964, 0),
    budget("dedup", 325, 659, 0),
    budget("session_1k", 191, 202, 0),
    budget("session_1m", 274, 285, 0),
    budget("session_10m", 255, 266, 0),
    budget("match_2k", 4940, 7200, 0),
    budget("match_2m", 5920, 9220, 0),
    budget("mic", 1099, 1891, 0),
    budget("decrypt", 600, 929, 0),
    budget("template", 2598, 5993, 0),
    budget("websocket_frame", 71, 157, 0),
    budget("websocket_unmask", 399, 3109, 0),
    // rustls makes one buffer per record.
    budget("tls_record", 3229, 4020, 1),
    budget("tls_record_full", 83_797, 84_588, 1),
    budget("mqtt_publish", 280, 432, 0),
    budget("mqtt_publish_v5", 300, 472, 0),
    budget("mqtt_puback", 128, 164, 0),
    budget("mqtt_written", 227, 452, 0),
    budget("mqtt_copied", 52, 116, 0),
];

/// Of an uplink through a node of one shard, datagram to WebSocket frame.
pub const UPLINK: Budget = budget("uplink", 15_500, 28_400, 0);

/// The greatest ratio of an uplink's instructions on several shards to those on one, in percent.
pub const SHARDS_PERCENT_MAX: u64 = 120;

/// The numbers of shards for which that holds.
pub const SHARDS: [usize; 3] = [2, 4, 8];

/// The budget of that kernel.
#[must_use]
pub fn of(kernel: &str) -> Option<&'static Budget> {
    KERNELS.iter().find(|budget| budget.kernel == kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_has_its_budget() {
        let kernels: Vec<&str> = crate::KERNELS.iter().map(|kernel| kernel.name).collect();
        assert_eq!(kernels, KERNELS.iter().map(|budget| budget.kernel).collect::<Vec<_>>());
    }
}
