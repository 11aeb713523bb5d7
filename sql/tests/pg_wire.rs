//! The Postgres wire end to end: a Postgres driver, and psql itself, as clients of an
//! engine over a broker in this process.

mod common;

use common::Node;
use std::path::Path;
use thalweg_sql::PgServer;
use tokio_postgres::{NoTls, SimpleQueryMessage};

const ADS: &str = "CREATE SOURCE ads (item BIGINT, campaign VARCHAR, clicked INT, ts TIMESTAMP,
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
    WITH (connector = 'kafka', topic = 'impressions', partitions = 3)";

struct Served {
    node: Node,
    server: PgServer,
}

impl Served {
    async fn start(dir: &Path) -> Self {
        let node = Node::start(dir).await;
        let server = PgServer::start(node.engine.clone(), "127.0.0.1:0")
            .await
            .expect("a server");
        Self { node, server }
    }

    async fn connect(&self) -> tokio_postgres::Client {
        let address = self.server.address();
        let (client, connection) = tokio_postgres::Config::new()
            .host(address.ip().to_string())
            .port(address.port())
            .user("test")
            .dbname("thalweg")
            .connect(NoTls)
            .await
            .expect("a connection");
        tokio::spawn(connection);
        client
    }

    async fn stop(self) {
        self.server.shutdown().await;
        self.node.stop().await;
    }
}

/// The rows and tags of a simple query, as text.
async fn simple(client: &tokio_postgres::Client, script: &str) -> Vec<String> {
    let messages = client.simple_query(script).await.expect("results");
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|index| row.get(index).unwrap_or("NULL"));
                Some(values.collect::<Vec<_>>().join("|"))
            }
            SimpleQueryMessage::CommandComplete(rows) => Some(format!("done {rows}")),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_makes_a_view_and_reads_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = Served::start(dir.path()).await;
    let client = served.connect().await;
    simple(&client, ADS).await;
    assert_eq!(
        simple(
            &client,
            "INSERT INTO ads VALUES (1, 'men', 0, '2024-01-01 00:00:01'),
                (2, 'women', 1, '2024-01-01 00:00:02.5'), (3, 'men', NULL, NULL);
             CREATE MATERIALIZED VIEW clicks AS
                SELECT campaign, count(*) AS n, sum(clicked) AS clicks FROM ads GROUP BY campaign;
             FLUSH;
             SELECT * FROM clicks ORDER BY campaign;
             SELECT ts, clicked, item FROM ads ORDER BY item"
        )
        .await,
        [
            "done 3",
            "done 0",
            "done 0",
            "men|2|0",
            "women|1|1",
            "done 2",
            "2024-01-01 00:00:01|0|1",
            "2024-01-01 00:00:02.5|1|2",
            "NULL|NULL|3",
            "done 3"
        ]
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_has_its_state_its_place_and_a_way_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = Served::start(dir.path()).await;
    let client = served.connect().await;
    simple(&client, ADS).await;

    let script = "SELECT 1;\nSELECT campain FROM ads; SELECT 2";
    let error = client.simple_query(script).await.expect_err("an error");
    let error = error.as_db_error().expect("an error of the server");
    assert_eq!(error.code().code(), "42703");
    assert_eq!(error.hint(), Some("did you mean `campaign`?"));
    assert_eq!(
        error.position(),
        Some(&tokio_postgres::error::ErrorPosition::Original(18))
    );
    let error = client
        .prepare("SELECT * FROM adds")
        .await
        .expect_err("an error");
    assert_eq!(error.code().map(|code| code.code()), Some("42P01"));
    // The session goes on, in both protocols.
    assert_eq!(simple(&client, "SELECT 1; ").await, ["1", "done 1"]);
    client.query("SELECT 1", &[]).await.expect("a row");

    // A failed block takes nothing until it ends.
    simple(&client, "BEGIN").await;
    client.simple_query("SELEC").await.expect_err("an error");
    let error = client.simple_query("SELECT 1").await.expect_err("an error");
    assert_eq!(error.code().map(|code| code.code()), Some("25P02"));
    simple(&client, "ROLLBACK").await;
    assert_eq!(simple(&client, "SELECT 1").await, ["1", "done 1"]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_go_both_ways_in_both_formats() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = Served::start(dir.path()).await;
    let client = served.connect().await;
    simple(
        &client,
        "CREATE SOURCE things (b BOOLEAN, s SMALLINT, i INT, l BIGINT, r REAL, d DOUBLE,
            t VARCHAR, ts TIMESTAMP, day DATE, n NUMERIC(10,2))
            WITH (connector = 'kafka', topic = 'things', partitions = 1)",
    )
    .await;
    let insert = client
        .prepare("INSERT INTO things (b, s, i, l, r, d, t) VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .await
        .expect("a statement");
    for row in 0..2i32 {
        let text = (row == 0).then_some("it's");
        let count = client
            .execute(
                &insert,
                &[
                    &(row == 0),
                    &(row as i16),
                    &-row,
                    &i64::MAX,
                    &0.1f32,
                    &1e300f64,
                    &text,
                ],
            )
            .await
            .expect("a row");
        assert_eq!(count, 1);
    }
    let row = client
        .query_one(
            "SELECT b, s, i, l, r, d, t, ts FROM things WHERE i = $1 OR t = $2",
            &[&7i32, &"it's"],
        )
        .await
        .expect("one row");
    assert!(row.get::<_, bool>(0));
    assert_eq!(row.get::<_, i16>(1), 0);
    assert_eq!(row.get::<_, i32>(2), 0);
    assert_eq!(row.get::<_, i64>(3), i64::MAX);
    assert_eq!(row.get::<_, f32>(4), 0.1);
    assert_eq!(row.get::<_, f64>(5), 1e300);
    assert_eq!(row.get::<_, &str>(6), "it's");
    assert_eq!(row.get::<_, Option<std::time::SystemTime>>(7), None);

    let row = client
        .query_one(
            "SELECT TIMESTAMP '2024-02-29 12:30:00.25', X'01ff', NULL, count(*) FROM things",
            &[],
        )
        .await
        .expect("one row");
    let since = row
        .get::<_, std::time::SystemTime>(0)
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after the epoch");
    assert_eq!(since.as_millis(), 1_709_209_800_250);
    assert_eq!(row.get::<_, &[u8]>(1), [1, 255]);
    assert_eq!(row.get::<_, Option<&str>>(2), None);
    assert_eq!(row.get::<_, i64>(3), 2);
    assert_eq!(
        simple(
            &client,
            "SELECT true, DATE '2024-02-29', CAST(1.5 AS NUMERIC(5,2)), INTERVAL '1 day', 0.1 + 0.2"
        )
        .await,
        ["t|2024-02-29|1.50|1 day|0.30000000000000004", "done 1"]
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_gives_its_rows_in_parts() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = Served::start(dir.path()).await;
    let mut client = served.connect().await;
    let block = client.transaction().await.expect("a block");
    let portal = block
        .bind(
            "SELECT * FROM (VALUES (1), (2), (3), (4), (5)) AS t (n) ORDER BY n",
            &[],
        )
        .await
        .expect("a portal");
    for expected in [vec![1i64, 2], vec![3, 4], vec![5], vec![]] {
        let rows = block.query_portal(&portal, 2).await.expect("rows");
        let found: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(found, expected);
    }
    block.commit().await.expect("the end of the block");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_query_goes_on_until_it_is_cancelled() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = Served::start(dir.path()).await;
    let reader = served.connect().await;
    let writer = served.connect().await;
    simple(&writer, ADS).await;
    let statement = reader
        .prepare("SELECT item, campaign FROM ads EMIT CHANGES")
        .await
        .expect("a statement");
    let rows = reader
        .query_raw(&statement, Vec::<String>::new())
        .await
        .expect("a query");
    let mut rows = std::pin::pin!(rows);
    for item in 1..=2i64 {
        simple(
            &writer,
            &format!("INSERT INTO ads (item, campaign) VALUES ({item}, 'men')"),
        )
        .await;
        let row = futures::StreamExt::next(&mut rows)
            .await
            .expect("a row")
            .expect("no error");
        assert_eq!(row.get::<_, &str>("op"), "insert");
        assert_eq!(row.get::<_, i64>("item"), item);
    }
    reader
        .cancel_token()
        .cancel_query(NoTls)
        .await
        .expect("a cancel");
    let error = futures::StreamExt::next(&mut rows)
        .await
        .expect("an end")
        .expect_err("the cancel");
    assert_eq!(error.code().map(|code| code.code()), Some("57014"));
    reader.query("SELECT 1", &[]).await.expect("a row");

    // A cancel that comes late cancels nothing.
    reader
        .cancel_token()
        .cancel_query(NoTls)
        .await
        .expect("a cancel");
    reader.query("SELECT 1", &[]).await.expect("a row");
    served.stop().await;
}

/// As psql reads with `FETCH_COUNT`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_follows_a_push_query_row_by_row() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = Served::start(dir.path()).await;
    let client = served.connect().await;
    simple(&client, ADS).await;
    simple(
        &client,
        "INSERT INTO ads (item) VALUES (1); BEGIN; INSERT INTO ads (item) VALUES (1)",
    )
    .await;
    let declare = "DECLARE c NO SCROLL CURSOR FOR\nSELECT item FROM ads EMIT CHANGES;";
    assert_eq!(simple(&client, declare).await, ["done 0"]);
    for _ in 0..2 {
        assert_eq!(
            simple(&client, "FETCH FORWARD 1 FROM c").await,
            ["insert|1", "done 1"]
        );
    }
    assert_eq!(simple(&client, "CLOSE c").await, ["done 0"]);
    let wrong = "DECLARE c CURSOR FOR\nSELECT itm FROM ads";
    let error = client.simple_query(wrong).await.expect_err("an error");
    assert_eq!(
        error.as_db_error().and_then(|error| error.position()),
        Some(&tokio_postgres::error::ErrorPosition::Original(29))
    );
    simple(&client, "ROLLBACK").await;
    let error = client.simple_query(declare).await.expect_err("an error");
    assert_eq!(error.code().map(|code| code.code()), Some("25P01"));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_ends_with_its_sessions() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = Served::start(dir.path()).await;
    let client = served.connect().await;
    simple(&client, ADS).await;
    let taken = PgServer::start(
        served.node.engine.clone(),
        &served.server.address().to_string(),
    )
    .await
    .expect_err("the port is taken");
    assert!(taken.message().contains("in use"), "{taken}");
    // One session is idle, one follows a query for ever.
    let idle = served.connect().await;
    let followed = tokio::spawn(async move {
        client
            .simple_query("SELECT * FROM ads EMIT CHANGES")
            .await
            .expect_err("the end")
    });
    idle.simple_query("SELECT 1").await.expect("a row");
    served.stop().await;
    followed.await.expect("an end");
    assert!(idle.simple_query("SELECT 1").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_closes_the_session_alone() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = tempfile::tempdir().expect("a folder");
    let served = Served::start(dir.path()).await;
    let startup = b"\0\0\0\x13\0\x03\0\0user\0test\0\0";
    let attempts: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\x08\0\x03\0\0",
        b"\xff\xff\xff\xff\0\x03\0\0",
        // A message without a length, one that is too long, one that is unknown, one
        // that ends too early.
        &[&startup[..], b"Q\0\0\0\x01"].concat(),
        &[&startup[..], b"Q\x7f\xff\xff\xff"].concat(),
        &[&startup[..], b"\x01\0\0\0\x04"].concat(),
        &[&startup[..], b"B\0\0\0\x06\0\0"].concat(),
    ];
    for bytes in attempts {
        let mut socket = tokio::net::TcpStream::connect(served.server.address())
            .await
            .expect("a connection");
        socket.write_all(bytes).await.expect("sent");
        let mut answer = Vec::new();
        // The server closes; that it may do so with a reset is no matter.
        let _ = socket.read_to_end(&mut answer).await;
    }
    let client = served.connect().await;
    assert_eq!(simple(&client, "SELECT 1").await, ["1", "done 1"]);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_query_ends_when_its_client_goes() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = tempfile::tempdir().expect("a folder");
    let served = Served::start(dir.path()).await;
    let client = served.connect().await;
    simple(&client, ADS).await;
    let mut socket = tokio::net::TcpStream::connect(served.server.address())
        .await
        .expect("a connection");
    socket
        .write_all(b"\0\0\0\x13\0\x03\0\0user\0test\0\0")
        .await
        .expect("sent");
    let query = b"SELECT item FROM ads EMIT CHANGES\0";
    let length = u32::try_from(query.len() + 4).expect("a length");
    let message = [&b"Q"[..], &length.to_be_bytes(), query].concat();
    socket.write_all(&message).await.expect("sent");
    // Its columns are told at once, before there is a row.
    let mut answer = Vec::new();
    while !answer.windows(5).any(|bytes| bytes == b"item\0") {
        assert_ne!(socket.read_buf(&mut answer).await.expect("an answer"), 0);
    }
    // Then the server sees that the client says no more, and closes.
    socket.shutdown().await.expect("the end");
    let _ = socket.read_to_end(&mut answer).await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_drivers_send_besides_queries_is_taken() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = Served::start(dir.path()).await;
    let client = served.connect().await;
    simple(&client, ADS).await;
    simple(
        &client,
        "SET application_name = 'it''s me'; SET extra_float_digits = 3; SET DateStyle TO 'ISO, MDY';
         SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; SET TIME ZONE 'UTC';
         RESET ALL; SET application_name = 'me'; DISCARD ALL; ;",
    )
    .await;
    simple(&client, "SET application_name TO me").await;
    assert_eq!(
        simple(&client, "SHOW application_name").await,
        ["me", "done 0"]
    );
    let encoding = client.simple_query("SET client_encoding = 'LATIN1'").await;
    let error = encoding.expect_err("another encoding");
    assert_eq!(error.code().map(|code| code.code()), Some("22023"));
    let row = client
        .query_one(
            "SELECT version(), current_database(), pg_backend_pid()",
            &[],
        )
        .await
        .expect("facts");
    assert!(row.get::<_, &str>(0).starts_with("PostgreSQL 15"));
    assert_eq!(row.get::<_, &str>(1), "thalweg");
    assert!(row.get::<_, i32>(2) > 0);
    let tables = client.query("SHOW TABLES", &[]).await.expect("tables");
    assert_eq!(tables[0].get::<_, &str>(0), "ads");
    client.execute("FLUSH", &[]).await.expect("done");
    let row = client
        .query_one("SELECT $1, $2::bigint + 1 LIMIT $3", &[&"x", &1i64, &1i64])
        .await
        .expect("parameters");
    assert_eq!((row.get(0), row.get(1)), ("x", 2i64));
    let none = client
        .query(
            "SELECT item FROM ads WHERE ts > $1 AND item IN ($2, $3)",
            &[&std::time::SystemTime::now(), &1i64, &None::<i64>],
        )
        .await
        .expect("no rows");
    assert!(none.is_empty());
    served.stop().await;
}

const PSQL_SCRIPT: &str = r"
CREATE SOURCE ads (item BIGINT, campaign VARCHAR) WITH (connector = 'kafka', topic = 'impressions', partitions = 2);
CREATE MATERIALIZED VIEW clicks AS SELECT campaign, count(*) AS n FROM ads GROUP BY campaign;
INSERT INTO ads VALUES (1, 'men'), (2, 'women'), (3, 'men'), (4, NULL);
FLUSH;
SELECT * FROM clicks ORDER BY n DESC, campaign;
SELECT campain FROM ads;
\dt
\dm
\d clicks
\d ads
\d+ clicks
\d nosuch
\l
\dn
\du
\df
\di
\conninfo
\set x 2
SELECT :x AS two, version() IS NOT NULL AS known;
SELECT table_name, column_name FROM information_schema.columns WHERE table_name = 'clicks' ORDER BY 2;
SELECT 1 AS one, 'x' AS text \gdesc
DROP MATERIALIZED VIEW clicks;
DROP SOURCE ads;
\d
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_lives_through_a_view() {
    let Ok(version) = std::process::Command::new("psql").arg("--version").output() else {
        eprintln!("skipped: there is no psql on the PATH");
        return;
    };
    assert!(version.status.success());
    let dir = tempfile::tempdir().expect("a folder");
    let served = Served::start(dir.path()).await;
    let address = served.server.address();
    let script = dir.path().join("script.sql");
    std::fs::write(&script, PSQL_SCRIPT).expect("a script");
    let run = move || {
        std::process::Command::new("psql")
            .args(["-X", "-h", &address.ip().to_string()])
            .args(["-p", &address.port().to_string()])
            .args(["-U", "test", "-d", "thalweg", "-P", "pager=off"])
            .arg("-f")
            .arg(script)
            .env("PGCONNECT_TIMEOUT", "10")
            .env("LC_ALL", "C")
            .output()
            .expect("psql")
    };
    let output = tokio::task::spawn_blocking(run).await.expect("psql");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    println!("{said}\n---\n{complained}");
    for expected in [
        "CREATE SOURCE",
        "CREATE MATERIALIZED VIEW",
        "INSERT 0 4",
        "FLUSH",
        " campaign | n \n----------+---\n men      | 2\n women    | 1\n          | 1\n(3 rows)",
        " public | ads  | source | test",
        " public | clicks | materialized view | test",
        "Materialized view \"public.clicks\"",
        "Foreign table \"public.ads\"",
        " campaign | varchar |           |",
        "Server: kafka",
        "topic 'impressions'",
        "View definition:",
        " thalweg | test ",
        "DROP MATERIALIZED VIEW",
        "DROP SOURCE",
        " two | known \n-----+-------\n   2 | t\n",
        " clicks     | campaign\n clicks     | n\n",
        " one    | bigint\n text   | text\n",
    ] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    for expected in [
        "ERROR:  ",
        "LINE 1: SELECT campain FROM ads;\n               ^",
        "HINT:  did you mean `campaign`?",
        "Did not find any relation named \"nosuch\".",
    ] {
        assert!(
            complained.contains(expected),
            "{expected} is not in\n{complained}"
        );
    }
    assert_eq!(complained.matches("ERROR").count(), 1, "{complained}");
    served.stop().await;
}
