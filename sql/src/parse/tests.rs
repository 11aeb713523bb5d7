use super::*;

fn one(sql: &str) -> Statement {
    match parse_one(sql) {
        Ok(parsed) => parsed.statement,
        Err(error) => panic!("{}", error.render(sql)),
    }
}

fn fails(sql: &str) -> String {
    match parse(sql) {
        Ok(parsed) => panic!("parsed as {parsed:?}"),
        Err(error) => error.render(sql),
    }
}

#[test]
fn a_source_with_everything() {
    let Statement::CreateSource(source) = one("CREATE SOURCE IF NOT EXISTS Ads (
            id BIGINT NOT NULL, \"Campaign\" VARCHAR, ts TIMESTAMP,
            WATERMARK FOR ts AS ts - INTERVAL '5' SECOND,
            PRIMARY KEY (id, \"Campaign\"),
         ) WITH (connector = 'kafka', topic = 'ads', 'scan.mode' = latest, properties.n = 3)
         FORMAT UPSERT ENCODE CSV (delimiter = ';')")
    else {
        panic!("not a source")
    };
    assert_eq!(source.name.text, "ads");
    assert!(source.if_not_exists);
    let names: Vec<_> = source
        .columns
        .iter()
        .map(|c| c.name.text.as_str())
        .collect();
    assert_eq!(names, ["id", "Campaign", "ts"]);
    assert!(source.columns[0].not_null && !source.columns[1].not_null);
    assert_eq!(source.watermark.map(|w| w.delay_ms), Some(5000));
    assert_eq!(source.primary_key.len(), 2);
    let option = |key: &str| source.options.get(key).map(|(value, _)| value.clone());
    assert_eq!(option("topic").as_deref(), Some("ads"));
    assert_eq!(option("scan.mode").as_deref(), Some("latest"));
    assert_eq!(option("properties.n").as_deref(), Some("3"));
    let format = source.format.expect("a format");
    assert_eq!(
        (format.style.text.as_str(), format.encode.text.as_str()),
        ("UPSERT", "CSV")
    );
    assert_eq!(
        format.options.get("delimiter").map(|o| o.0.as_str()),
        Some(";")
    );
}

#[test]
fn a_script_is_cut_at_its_semicolons_only() {
    let script = "SELECT ';' AS a; -- a ; comment\n\n  FLUSH ;; DROP SINK s";
    let texts: Vec<_> = parse(script)
        .expect("parses")
        .into_iter()
        .map(|p| p.text)
        .collect();
    assert_eq!(texts, ["SELECT ';' AS a", "FLUSH", "DROP SINK s"]);
}

#[test]
fn both_spellings_of_a_window_are_one() {
    let short = one("SELECT * FROM TUMBLE(ads, ts, INTERVAL '1 minute')");
    let long = one("SELECT * FROM TABLE(TUMBLE(TABLE ads, DESCRIPTOR(ts), INTERVAL '1' MINUTE))");
    let (Statement::Query(short), Statement::Query(long)) = (short, long) else {
        panic!("not queries")
    };
    assert_eq!(short.query.to_string(), long.query.to_string());
    assert!(
        short
            .query
            .to_string()
            .contains("thalweg_tumble(ts, 60000) AS window_start")
    );
}

#[test]
fn a_hop_takes_the_slide_before_the_size() {
    let Statement::Query(select) = one(
        "SELECT a.x FROM HOP(ads, ts, INTERVAL '2' SECOND, INTERVAL '10' SECOND) AS a EMIT CHANGES",
    ) else {
        panic!("not a query")
    };
    assert!(select.emit_changes);
    let text = select.query.to_string();
    assert!(text.contains("thalweg_hop(ts, 2000, 10000)"), "{text}");
    assert!(
        text.contains("thalweg_shift(window_start, 10000) AS window_end"),
        "{text}"
    );
}

#[test]
fn a_window_in_a_cte_and_over_a_subquery() {
    let text = match one(
        "WITH w AS (SELECT * FROM TUMBLE((SELECT * FROM ads), ts, INTERVAL '1' HOUR) t) SELECT * FROM w",
    ) {
        Statement::Query(select) => select.query.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(text.contains("thalweg_tumble(ts, 3600000)"), "{text}");
}

#[test]
fn the_options_of_a_sink_are_no_hints_on_its_table() {
    for sql in [
        "CREATE SINK s AS SELECT n FROM v WITH (connector = 'kafka', topic = 'x') FORMAT UPSERT ENCODE JSON",
        "CREATE SINK s FROM v WITH (connector = 'kafka', topic = 'x') FORMAT UPSERT ENCODE JSON",
        "CREATE SINK s AS WITH c AS (SELECT 1) SELECT * FROM c WITH (connector = 'kafka', topic = 'x') FORMAT UPSERT ENCODE JSON",
    ] {
        let Statement::CreateSink(sink) = one(sql) else {
            panic!("not a sink")
        };
        assert_eq!(sink.options.len(), 2, "{sql}");
        assert!(sink.format.is_some(), "{sql}");
    }
}

#[test]
fn small_statements() {
    assert_eq!(
        one("show materialized views"),
        Statement::Show(ShowKind::Views)
    );
    assert_eq!(
        one("SHOW server_version"),
        Statement::ShowVariable("server_version".into())
    );
    assert_eq!(
        one("SHOW TRANSACTION ISOLATION LEVEL"),
        Statement::ShowVariable("transaction isolation level".into())
    );
    assert!(matches!(one("DESCRIBE v"), Statement::Describe(name) if name.text == "v"));
    assert!(matches!(one("EXPLAIN SELECT 1"), Statement::Explain(_)));
    assert!(matches!(
        one("DROP MATERIALIZED VIEW IF EXISTS a, b CASCADE"),
        Statement::Drop(Drop { if_exists: true, cascade: true, names, .. }) if names.len() == 2
    ));
    assert!(
        matches!(one("INSERT INTO s (a, b) VALUES (1, 2)"), Statement::Insert(i) if i.columns.len() == 2)
    );
    assert!(matches!(one("INSERT INTO s SELECT 1"), Statement::Insert(i) if i.columns.is_empty()));
    assert_eq!(one("begin"), Statement::Accepted("BEGIN"));
}

#[test]
fn errors_point_at_the_place_and_say_the_way_out() {
    let scripts = [
        "SELEC 1",
        "SELECT 1 +",
        "SELECT a FROM t\nWHERE a = = 2",
        "FLUSH;\nCREATE SOURCE s (a BIGINT,\n  WATERMARK FOR ts AS ts * 2) WITH (connector = 'kafka')",
        "CREATE SOURCE s WITH (connector = 'kafka')",
        "CREATE TABLE t (a INT)",
        "SELECT 'open",
        "SELECT * FROM TUMBLE(t, ts)",
        "SELECT * FROM HOP(t, ts, INTERVAL '1 month', INTERVAL '1 year')",
        "SELECT * FROM SESSION(t, ts, INTERVAL '1 minute')",
        "CREATE MATERIALIZED VIEW v AS SELECT 1 EMIT CHANGES",
        "CREATE SOURCE s (a INT) WITH (topic = 'x', topic = 'y')",
        "DROP VIEW v",
        "UPDATE t SET a = 1",
        "FLUSH now",
    ];
    let rendered: Vec<String> = scripts.iter().map(|sql| fails(sql)).collect();
    insta::assert_snapshot!(rendered.join("\n"));
}
