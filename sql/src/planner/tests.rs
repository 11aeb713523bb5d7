use super::*;
use crate::catalog::{Body, ViewDef};
use crate::parse::{Statement, parse_one};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
}

fn source(sql: &str) -> Arc<Relation> {
    let parsed = parse_one(sql).unwrap_or_else(|e| panic!("{}", e.render(sql)));
    let Statement::CreateSource(create) = &parsed.statement else {
        panic!("no source")
    };
    let def = source::source_def(create).unwrap_or_else(|e| panic!("{}", e.render(sql)));
    Arc::new(Relation {
        id: create.name.text.clone(),
        name: create.name.text.clone(),
        sql: parsed.text.clone(),
        body: Body::Source(def),
    })
}

fn relations() -> Vec<Arc<Relation>> {
    let mut all = vec![
        source(
            "CREATE SOURCE ads (item BIGINT, campaign VARCHAR, clicked INT, price DOUBLE PRECISION,
             ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
             WITH (connector = 'kafka', topic = 'impressions')",
        ),
        source(
            "CREATE SOURCE items (id BIGINT PRIMARY KEY, name VARCHAR, price NUMERIC(10, 2))
             WITH (connector = 'kafka', topic = 'items') FORMAT UPSERT ENCODE JSON",
        ),
    ];
    let plan = view(
        &all,
        "SELECT campaign, count(*) AS n, sum(price) AS total FROM ads GROUP BY campaign",
    );
    all.push(Arc::new(Relation {
        id: "v".into(),
        name: "per_campaign".into(),
        sql: String::new(),
        body: Body::View(ViewDef {
            topic: "per_campaign".into(),
            plan,
        }),
    }));
    all
}

fn try_view(relations: &[Arc<Relation>], query: &str) -> Result<StreamPlan, SqlError> {
    let parsed = parse_one(query)?;
    let Statement::Query(select) = &parsed.statement else {
        panic!("no query")
    };
    let planner = Planner::new(relations.iter().cloned());
    runtime().block_on(planner.view("v", "v", &[], &select.query, &parsed))
}

fn view(relations: &[Arc<Relation>], query: &str) -> StreamPlan {
    try_view(relations, query).unwrap_or_else(|e| panic!("{}", e.render(query)))
}

fn explained(query: &str) -> String {
    let plan = view(&relations(), query);
    let text = serde_json::to_string(&plan).expect("json");
    let back: StreamPlan = serde_json::from_str(&text).expect("a stored plan reads back");
    assert_eq!(back, plan, "{text}");
    physical(&plan);
    format!("{query}\n\n{}", explain(&plan))
}

/// Every expression of a plan can be made executable over its input.
fn physical(plan: &StreamPlan) {
    for fragment in &plan.fragments {
        for operator in &fragment.operators {
            let input = operator
                .inputs
                .first()
                .and_then(|id| fragment.operators.iter().find(|o| o.id == *id));
            let columns = input.map(|o| o.columns.clone()).unwrap_or_default();
            match &operator.kind {
                OperatorKind::Filter { predicate } => {
                    predicate.to_physical(&columns).expect("a predicate");
                }
                OperatorKind::Project { exprs } => {
                    let named: Vec<_> = columns
                        .iter()
                        .enumerate()
                        .map(|(i, c)| crate::plan::ColumnSpec {
                            name: format!("c{i}"),
                            ..c.clone()
                        })
                        .collect();
                    let schema = crate::plan::arrow_schema(&named);
                    for (expr, out) in exprs.iter().zip(&operator.columns) {
                        let physical = expr.to_physical(&columns).expect("an expression");
                        let given = physical.data_type(&schema).expect("a type");
                        assert_eq!(given, out.data_type, "{} in {plan:?}", out.name);
                    }
                }
                _ => {}
            }
        }
    }
}

#[test]
fn plans_of_views() {
    let queries = [
        "SELECT item, price * 2 AS double, upper(campaign) AS c FROM ads WHERE clicked = 1",
        "SELECT campaign, count(*) AS n, sum(price), avg(price) AS mean FROM ads GROUP BY campaign",
        "SELECT window_start, window_end, campaign, count(*) AS n, sum(clicked) AS clicks \
         FROM TUMBLE(ads, ts, INTERVAL '1 hour') GROUP BY window_start, window_end, campaign",
        "SELECT item, window_start, count(DISTINCT campaign) AS campaigns, min(price) AS low \
         FROM HOP(ads, ts, INTERVAL '10 minutes', INTERVAL '1 hour') WHERE clicked > 0 \
         GROUP BY item, window_start HAVING count(*) > 2",
        "SELECT count(*) AS n FROM ads",
        "SELECT n, count(*) AS campaigns, max(total) AS highest FROM per_campaign GROUP BY n",
        "SELECT DISTINCT campaign FROM ads",
        "SELECT name FROM items WHERE price > 10",
        "SELECT campaign, sum(price) FILTER (WHERE clicked = 1) AS earned, count(item) AS items FROM ads GROUP BY 1",
        "SELECT window_start, max(n) AS busiest FROM (SELECT window_start, item, count(*) AS n \
         FROM TUMBLE(ads, ts, INTERVAL '1 minute') GROUP BY window_start, item) GROUP BY window_start",
    ];
    let shown: Vec<String> = queries.iter().map(|q| explained(q)).collect();
    insta::assert_snapshot!(shown.join("\n----\n"));
}

#[test]
fn what_streams_cannot_do_says_the_way_out() {
    let relations = relations();
    let queries = [
        "SELECT itm FROM ads",
        "SELECT item\nFROM addds",
        "SELECT item, count(*) FROM ads GROUP BY campaign",
        "SELECT a.item FROM ads a JOIN items i ON a.item = i.id",
        "SELECT item, row_number() OVER (ORDER BY ts) AS r FROM ads",
        "SELECT item FROM ads ORDER BY price LIMIT 3",
        "SELECT item FROM ads UNION ALL SELECT id FROM items",
        "SELECT item, now() AS t FROM ads",
        "SELECT item, uper(campaign) FROM ads",
        "SELECT 1 AS one",
        "SELECT item, NULL AS nothing FROM ads",
        "SELECT item, campaign AS item FROM ads",
        "SELECT approx_distinct(item) AS n FROM ads",
        "SELECT item + ts AS x FROM ads",
        "SELECT campaign, count(*) AS n FROM ads GROUP BY ROLLUP(campaign)",
        "SELECT window_start, count(*) AS n FROM TUMBLE(ads, campaign, INTERVAL '1 hour') GROUP BY 1",
    ];
    let shown: Vec<String> = queries
        .iter()
        .map(|sql| match try_view(&relations, sql) {
            Ok(plan) => panic!("{sql} was planned:\n{}", explain(&plan)),
            Err(error) => format!("[{}] {}", error.state().code(), error.render(sql)),
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}
