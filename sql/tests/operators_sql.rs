//! The oracle through the whole engine: a view's rows are those of its own query run as a
//! batch over the same topics, while rows come in and the engine is restarted.

mod common;

use common::Node;

const SOURCE: &str = "CREATE SOURCE t (k VARCHAR, s VARCHAR, i BIGINT, n INT, f DOUBLE PRECISION,
    d NUMERIC(10, 2), b BOOLEAN, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '10' SECOND)
    WITH (connector = 'kafka', topic = 't', partitions = 3)";

/// Views, in order: a later one may read an earlier one.
const VIEWS: &[(&str, &str)] = &[
    (
        "filtered",
        "SELECT k, i + n AS both, upper(s) AS loud FROM t WHERE i > 0 OR b",
    ),
    (
        "per_k",
        "SELECT k, count(*) AS c, count(i) AS ci, sum(i) AS si, min(n) AS mn, max(s) AS ms FROM t GROUP BY k",
    ),
    (
        "decimals",
        "SELECT k, sum(d) AS sd, avg(d) AS ad, min(d) AS md, max(ts) AS last FROM t GROUP BY k",
    ),
    (
        "floats",
        "SELECT s, round(sum(f), 6) AS sf, round(avg(n), 6) AS an, max(f) AS mf FROM t GROUP BY s",
    ),
    (
        "distincts",
        "SELECT k, count(DISTINCT s) AS ds, sum(DISTINCT n) AS dn, count(*) FILTER (WHERE b) AS cb FROM t GROUP BY k",
    ),
    (
        "expressions",
        "SELECT i % 3 AS m, CASE WHEN b THEN 'yes' ELSE 'no' END AS yes, count(*) AS c FROM t WHERE k IS NOT NULL GROUP BY i % 3, CASE WHEN b THEN 'yes' ELSE 'no' END",
    ),
    (
        "having_some",
        "SELECT s, count(*) AS c FROM t GROUP BY s HAVING count(*) % 2 = 1",
    ),
    (
        "everything",
        "SELECT count(*) AS c, sum(i) AS si, min(s) AS ms, count(DISTINCT k) AS dk FROM t",
    ),
    ("only_keys", "SELECT DISTINCT k, b FROM t"),
    (
        "tumbled",
        "SELECT window_start, window_end, k, count(*) AS c, sum(n) AS sn, max(i) AS mi FROM TUMBLE(t, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, k",
    ),
    (
        "hopped",
        "SELECT window_start, count(*) AS c, count(DISTINCT s) AS ds, min(d) AS md FROM HOP(t, ts, INTERVAL '20 seconds', INTERVAL '1 minute') GROUP BY window_start",
    ),
    (
        "over_view",
        "SELECT c, count(*) AS ks, max(si) AS most, min(ms) AS least FROM per_k GROUP BY c",
    ),
    (
        "over_windows",
        "SELECT k, max(c) AS busiest, min(sn) AS least, count(*) AS windows FROM tumbled GROUP BY k",
    ),
    (
        "view_filter",
        "SELECT k, ci * 2 AS twice FROM per_k WHERE c > 2",
    ),
    (
        "nested",
        "SELECT hi, count(*) AS n FROM (SELECT k, s, max(n) AS hi FROM t GROUP BY k, s) AS x GROUP BY hi",
    ),
];

/// A small generator, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn or_null(&mut self, text: impl FnOnce(&mut Self) -> String) -> String {
        if self.below(8) == 0 {
            "NULL".to_owned()
        } else {
            text(self)
        }
    }

    /// A row whose time is at most a few seconds behind the ones before.
    fn row(&mut self, at: u64) -> String {
        let pick = |r: &mut Self, all: &[&str]| {
            let chosen = r.below(all.len() as u64) as usize;
            format!("'{}'", all[chosen])
        };
        let k = self.or_null(|r| pick(r, &["ash", "birch", "cedar", "O''Hara"]));
        let s = self.or_null(|r| pick(r, &["x", "yy", "é\u{1F600}"]));
        let i = self.or_null(|r| (r.below(20) as i64 - 8).to_string());
        let n = self.or_null(|r| (r.below(9) as i64 - 4).to_string());
        let f = self.or_null(|r| format!("{}.5", r.below(50)));
        let d = self.or_null(|r| format!("{}.{:02}", r.below(90), r.below(100)));
        let b = self.or_null(|r| (r.below(2) == 0).to_string());
        let seconds = (at * 7 + self.below(8)) % 3000;
        let ts = format!("'2024-05-01 10:{:02}:{:02}'", seconds / 60, seconds % 60);
        format!("({k}, {s}, {i}, {n}, {f}, {d}, {b}, {ts})")
    }
}

async fn compare(node: &Node, round: usize) {
    node.rows("FLUSH").await;
    for (view, query) in VIEWS {
        let streamed = node.rows(&format!("SELECT * FROM {view}")).await;
        let batch = node.rows(query).await;
        assert_eq!(streamed, batch, "{view} after round {round}: {query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_are_what_their_queries_give_as_a_batch() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut node = Node::start(dir.path()).await;
    node.rows(SOURCE).await;
    for (view, query) in VIEWS {
        node.rows(&format!("CREATE MATERIALIZED VIEW {view} AS {query}"))
            .await;
    }
    compare(&node, 0).await;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut at = 0;
    for round in 1..=4 {
        for _ in 0..3 {
            let rows: Vec<_> = (0..1 + random.below(25))
                .map(|_| {
                    at += 1;
                    random.row(at)
                })
                .collect();
            node.rows(&format!("INSERT INTO t VALUES {}", rows.join(", ")))
                .await;
        }
        compare(&node, round).await;
        if round == 2 {
            node.stop().await;
            node = Node::start(dir.path()).await;
            compare(&node, round).await;
        }
    }
    node.stop().await;
}
