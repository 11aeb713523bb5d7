//! DescribeLogDirs: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks what lies in a broker's log directories; null topics stand for all.
    request DescribeLogDirsRequest(DescribeLogDirs) {
        topics: Option<Vec<DescribableLogDirTopic>>;
    }

    /// The partitions of one topic asked for.
    struct DescribableLogDirTopic {
        topic: Str;
        partitions: Vec<i32>;
    }

    /// The answer to a [`DescribeLogDirsRequest`].
    response DescribeLogDirsResponse(DescribeLogDirs) {
        throttle_time_ms: i32;
        error_code: i16 [3..], ignorable;
        results: Vec<DescribeLogDirsResult>;
    }

    /// One log directory.
    struct DescribeLogDirsResult {
        error_code: i16;
        log_dir: Str;
        topics: Vec<DescribeLogDirsTopic>;
        total_bytes: i64 [4..] = -1, ignorable;
        usable_bytes: i64 [4..] = -1, ignorable;
        is_cordoned: bool [5..], ignorable;
    }

    /// What it holds of one topic.
    struct DescribeLogDirsTopic {
        name: Str;
        partitions: Vec<DescribeLogDirsPartition>;
    }

    /// What it holds of one partition.
    struct DescribeLogDirsPartition {
        partition_index: i32;
        partition_size: i64;
        offset_lag: i64;
        is_future_key: bool;
    }
}
