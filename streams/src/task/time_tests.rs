use super::*;

fn upstream(partition: i32) -> TaskId {
    TaskId {
        sub_topology: 0,
        partition,
    }
}

fn report(partition: i32, watermark: i64, idle: bool) -> TimeReport {
    TimeReport {
        upstream: upstream(partition),
        tasks: 3,
        watermark,
        idle,
    }
}

fn downstream() -> TaskTime {
    let mut time = TaskTime::default();
    time.add_upstream([0]);
    time
}

#[test]
fn a_report_survives_its_header() {
    for marker in [false, true] {
        for said in [report(2, i64::MIN, true), report(0, i64::MAX, false)] {
            let bytes = said.encode(marker);
            assert_eq!(TimeReport::decode(&bytes).ok(), Some((said, marker)));
            for cut in 0..bytes.len() {
                assert!(TimeReport::decode(&bytes[..cut]).is_err());
            }
        }
    }
    assert!(TimeReport::decode(&[9, 0]).is_err());
}

#[test]
fn time_waits_until_every_upstream_task_has_reported() {
    let mut time = downstream();
    time.report(0, &report(0, 10, false));
    time.report(0, &report(1, 30, false));
    assert_eq!(time.watermark(), NO_WATERMARK);
    time.report(0, &report(2, 20, false));
    assert_eq!(time.watermark(), 10);
}

#[test]
fn an_idle_upstream_task_holds_nothing_back_and_the_watermark_never_falls() {
    let mut time = downstream();
    for (partition, watermark) in [(0, 10), (1, 30), (2, 20)] {
        time.report(0, &report(partition, watermark, false));
    }
    time.report(0, &report(0, 10, true));
    assert_eq!(time.watermark(), 20);
    time.report(0, &report(0, 11, false));
    assert_eq!(time.watermark(), 20);
    for partition in 0..3 {
        time.report(0, &report(partition, 0, true));
    }
    assert!(time.idle());
    assert_eq!(time.watermark(), 30);
}

#[test]
fn a_source_without_data_becomes_idle_after_its_timeout() {
    let mut time = TaskTime::default();
    time.add_own(Some(Duration::from_millis(100)));
    time.add_own(Some(Duration::from_millis(100)));
    time.active(0, 0);
    time.observe(0, 50);
    time.tick(0);
    assert_eq!(time.watermark(), NO_WATERMARK);
    time.active(0, 99);
    assert!(time.tick(100));
    assert_eq!(time.watermark(), 50);
    assert!(!time.idle());
    time.tick(199);
    assert!(time.idle());
    time.active(1, 200);
    time.observe(1, 20);
    assert_eq!(time.watermark(), 50);
    assert!(!time.idle());
}

#[test]
fn a_source_without_a_partition_for_the_task_has_no_say() {
    let mut time = TaskTime::default();
    time.add_own(None);
    time.add_own(None);
    time.exclude(1);
    time.observe(0, 7);
    assert_eq!(time.watermark(), 7);
}

#[test]
fn committed_times_come_back() {
    let mut time = downstream();
    time.add_own(Some(Duration::from_millis(10)));
    time.report(0, &report(0, 1_700_000_000_000, false));
    time.report(0, &report(1, 1_700_000_000_123, true));
    time.report(0, &report(2, NO_WATERMARK, true));
    time.observe(1, 1_700_000_000_050);
    time.record(1_700_000_000_060);
    let committed: Vec<_> = (0..2).map(|source| time.encode(source, 4096)).collect();

    let mut restored = downstream();
    restored.add_own(Some(Duration::from_millis(10)));
    for (source, text) in committed.iter().enumerate() {
        restored.restore(source, text).unwrap();
    }
    assert_eq!(restored.watermark(), time.watermark());
    assert_eq!(restored.watermark(), 1_700_000_000_000);
    assert_eq!(restored.stream_time(), 1_700_000_000_060);
    assert_eq!(restored.source_watermark(1), 1_700_000_000_050);
    assert_eq!(restored.encode(0, 4096), committed[0]);
}

#[test]
fn foreign_or_cut_metadata_is_refused() {
    let mut time = downstream();
    time.report(0, &report(0, 5, false));
    let text = time.encode(0, 4096);
    assert!(downstream().restore(0, "").is_ok());
    assert!(downstream().restore(0, "not ours!").is_err());
    assert!(downstream().restore(0, &text[..4]).is_err());
}

#[test]
fn many_upstream_tasks_fit_into_the_metadata_and_are_never_told_ahead() {
    for tasks in [100, 2_000, 3_200] {
        let mut time = downstream();
        for partition in 0..tasks {
            time.report(
                0,
                &TimeReport {
                    upstream: upstream(partition),
                    tasks,
                    watermark: 1_700_000_000_000 + i64::from(partition) * 37,
                    idle: partition % 7 == 3,
                },
            );
        }
        let text = time.encode(0, 4096);
        assert!(text.len() <= 4096, "{tasks}: {}", text.len());
        let mut restored = downstream();
        restored.restore(0, &text).unwrap();
        assert_eq!(restored.watermark(), time.watermark());
        assert!(restored.source_watermark(0) <= time.source_watermark(0));
    }
}

#[test]
fn the_first_version_of_what_is_written_is_read_for_ever() {
    let header = [1, 2, 0, 4, 6, 0x80, 0xa0, 0xab, 0xfe, 0xf9, 0x62];
    let said = report(2, 1_700_000_000_000, false);
    assert_eq!(said.encode(true)[..], header);
    assert_eq!(TimeReport::decode(&header).ok(), Some((said, true)));

    let mut own = TaskTime::default();
    own.add_own(None);
    own.observe(0, 50);
    own.record(60);
    assert_eq!(own.encode(0, 4096), "AWR4AGQ");

    let mut time = downstream();
    time.report(0, &report(0, 1000, false));
    time.report(0, &report(1, 1200, true));
    time.record(1300);
    let text = "Af___________wGoFAHQDwAAAwSVAwA";
    assert_eq!(time.encode(0, 4096), text);
    let mut restored = downstream();
    restored.restore(0, text).unwrap();
    restored.report(0, &report(2, 1100, false));
    assert_eq!(restored.watermark(), 1000);
}
