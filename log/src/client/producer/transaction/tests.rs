use super::*;
use crate::client::ClientError;

const FIRST: Identity = Identity { id: 7, epoch: 0 };
const SECOND: Identity = Identity { id: 7, epoch: 1 };

fn machine(version2: bool) -> Machine {
    let mut machine = Machine::new("x".into());
    machine.initialized(FIRST, version2);
    machine
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn refused(code: ErrorCode) -> ClientError {
    ClientError::broker(code, "test")
}

#[test]
fn in_version_2_writing_adds_and_every_end_brings_an_epoch() {
    let mut machine = machine(true);
    assert!(!machine.admits(&tp(0)), "no transaction is open");
    machine.begin().unwrap();
    assert!(machine.admits(&tp(0)));
    assert!(machine.start_adding().is_none());
    machine.start_commit().unwrap();
    let Ending::Ask {
        identity, version2, ..
    } = machine.ending()
    else {
        panic!()
    };
    assert_eq!((identity, version2), (FIRST, true));
    machine.ended(Some(SECOND));
    assert_eq!(machine.identity(), Some(SECOND));
    machine.begin().unwrap();
    machine.start_abort().unwrap();
    assert_eq!(machine.ending(), Ending::Empty);
}

#[test]
fn in_version_1_partitions_are_added_once_before_they_are_written_to() {
    let mut machine = machine(false);
    machine.begin().unwrap();
    assert!(!machine.admits(&tp(0)));
    assert!(!machine.admits(&tp(1)));
    let (identity, partitions) = machine.start_adding().unwrap();
    assert_eq!((identity, partitions), (FIRST, vec![tp(0), tp(1)]));
    assert!(machine.start_adding().is_none(), "one is on its way");
    machine.finish_adding(&[tp(0), tp(1)], false);
    let (_, partitions) = machine.start_adding().unwrap();
    machine.finish_adding(&partitions, true);
    assert!(machine.admits(&tp(0)) && machine.admits(&tp(1)));
    machine.start_commit().unwrap();
    assert!(matches!(
        machine.ending(),
        Ending::Ask {
            confirmed: true,
            version2: false,
            ..
        }
    ));
    machine.ended(None);
    machine.begin().unwrap();
    assert!(!machine.admits(&tp(0)), "each transaction begins without");
}

#[test]
fn what_may_have_committed_cannot_be_aborted() {
    let mut machine = machine(true);
    machine.begin().unwrap();
    machine.admits(&tp(0));
    machine.start_commit().unwrap();
    machine.end_sent();
    assert!(machine.start_abort().is_err());
    machine.start_commit().unwrap();
    // The coordinator refuses for certain: now it can.
    let error = machine.failed(
        Severity::Abortable,
        &refused(ErrorCode::TransactionAbortable),
    );
    assert!(error.is_abortable());
    assert!(machine.start_commit().is_err());
    machine.start_abort().unwrap();
}

#[test]
fn a_commit_that_has_not_been_asked_for_can_be_aborted() {
    let mut machine = machine(false);
    machine.begin().unwrap();
    machine.start_commit().unwrap();
    machine.start_abort().unwrap();
}

#[test]
fn a_broken_sequence_needs_another_epoch_in_version_1_only() {
    for version2 in [false, true] {
        let mut machine = machine(version2);
        machine.begin().unwrap();
        machine.admits(&tp(0));
        machine.start_adding();
        machine.sequence_lost();
        machine.failed(
            Severity::Abortable,
            &refused(ErrorCode::OutOfOrderSequenceNumber),
        );
        assert!(machine.dropping().unwrap().is_abortable());
        machine.start_abort().unwrap();
        machine.ending();
        machine.ended(version2.then_some(SECOND));
        assert_eq!(machine.needs_bump(), !version2);
        if !version2 {
            assert!(machine.begin().is_err());
            machine.initialized(SECOND, false);
        }
        machine.begin().unwrap();
        assert_eq!(machine.identity(), Some(SECOND));
        assert!(!machine.needs_bump());
    }
}

#[test]
fn a_forgotten_producer_asks_for_a_new_id_instead_of_an_abort() {
    let mut machine = machine(true);
    machine.begin().unwrap();
    machine.admits(&tp(0));
    machine.failed(
        Severity::Abortable,
        &refused(ErrorCode::InvalidProducerIdMapping),
    );
    machine.start_abort().unwrap();
    assert_eq!(machine.ending(), Ending::NewIdentity);
    machine.ended(None);
    assert!(machine.needs_bump());
}

#[test]
fn a_fatal_error_is_never_left() {
    let mut machine = machine(true);
    machine.begin().unwrap();
    let error = machine.failed(Severity::Fenced, &refused(ErrorCode::ProducerFenced));
    assert!(error.is_fenced() && error.is_fatal());
    machine.initialized(SECOND, true);
    machine.ended(None);
    machine.failed(Severity::Abortable, &refused(ErrorCode::MessageTooLarge));
    for result in [
        machine.begin(),
        machine.start_commit(),
        machine.start_abort(),
    ] {
        assert!(result.unwrap_err().is_fenced());
    }
}

#[test]
fn refusals_mean_what_they_mean_to_other_clients() {
    use crate::wire::ErrorCode as E;
    let of = |code| requests::severity(&refused(code), Severity::Fatal);
    for code in [
        E::NotCoordinator,
        E::CoordinatorLoadInProgress,
        E::ConcurrentTransactions,
        E::RequestTimedOut,
    ] {
        assert_eq!(of(code), None, "{code:?}");
    }
    for code in [E::InvalidProducerEpoch, E::ProducerFenced] {
        assert_eq!(of(code), Some(Severity::Fenced), "{code:?}");
    }
    for code in [
        E::TransactionAbortable,
        E::InvalidProducerIdMapping,
        E::IllegalGeneration,
        E::FencedInstanceId,
    ] {
        assert_eq!(of(code), Some(Severity::Abortable), "{code:?}");
    }
    for code in [
        E::InvalidTxnState,
        E::TransactionalIdAuthorizationFailed,
        E::InvalidRequest,
    ] {
        assert_eq!(of(code), Some(Severity::Fatal), "{code:?}");
    }
    // An old epoch told by a leader may be that of a transaction that timed out.
    let old = requests::severity_of_batch(&refused(E::InvalidProducerEpoch));
    assert_eq!(old, Severity::Abortable);
}
