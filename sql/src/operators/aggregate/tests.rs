use super::accumulator::{Accumulator, Rows, accumulator};
use super::codec::Input;
use crate::operators::OperatorError;
use crate::plan::AggregateFunction;
use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, StringArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type};
use proptest::prelude::*;
use std::sync::Arc;

fn make(
    function: AggregateFunction,
    argument: &DataType,
    result: &DataType,
) -> Box<dyn Accumulator> {
    let mut made = accumulator(function, Some(argument), result).unwrap();
    made.grow(1);
    made
}

/// Takes rows into one group.
fn take(into: &mut dyn Accumulator, values: ArrayRef, signs: &[i8]) -> Result<(), OperatorError> {
    let groups = vec![0; values.len()];
    let rows = Rows {
        groups: &groups,
        signs: Some(signs),
        filter: None,
    };
    into.update(&rows, Some(&values))
}

fn float(of: &dyn Accumulator) -> Option<f64> {
    let result = of.evaluate(&[0]).unwrap();
    result
        .is_valid(0)
        .then(|| result.as_primitive::<Float64Type>().value(0))
}

fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

#[test]
fn what_is_not_finite_can_leave_a_sum_again() {
    let double = DataType::Float64;
    let mut sum = make(AggregateFunction::Sum, &double, &double);
    assert_eq!(float(sum.as_ref()), None);
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5];
    take(sum.as_mut(), floats(&odd), &[1; 4]).unwrap();
    assert!(float(sum.as_ref()).unwrap().is_nan());
    take(sum.as_mut(), floats(&[f64::NAN]), &[-1]).unwrap();
    assert!(
        float(sum.as_ref()).unwrap().is_nan(),
        "infinities of both signs"
    );
    take(sum.as_mut(), floats(&[f64::NEG_INFINITY]), &[-1]).unwrap();
    assert_eq!(float(sum.as_ref()), Some(f64::INFINITY));
    take(sum.as_mut(), floats(&[f64::INFINITY]), &[-1]).unwrap();
    assert_eq!(float(sum.as_ref()), Some(1.5));
    take(sum.as_mut(), floats(&[1.5]), &[-1]).unwrap();
    assert_eq!(float(sum.as_ref()), None);
    assert!(sum.is_empty(0));
}

#[test]
fn a_small_value_survives_a_great_one() {
    let double = DataType::Float64;
    let mut mean = make(AggregateFunction::Avg, &double, &double);
    take(mean.as_mut(), floats(&[1e20, 1.0, 1e20]), &[1, 1, -1]).unwrap();
    assert_eq!(float(mean.as_ref()), Some(1.0));
}

#[test]
fn a_sum_may_pass_its_type_on_the_way_but_not_stay_there() {
    let bigint = DataType::Int64;
    let mut sum = make(AggregateFunction::Sum, &bigint, &bigint);
    let values: ArrayRef = Arc::new(Int64Array::from(vec![i64::MAX, i64::MAX]));
    take(sum.as_mut(), values.clone(), &[1, 1]).unwrap();
    let error = sum.evaluate(&[0]).unwrap_err().to_string();
    assert!(
        error.contains("SUM overflows Int64") && error.contains("DECIMAL"),
        "{error}"
    );
    take(sum.as_mut(), values.slice(1, 1), &[-1]).unwrap();
    assert_eq!(
        sum.evaluate(&[0])
            .unwrap()
            .as_primitive::<Int64Type>()
            .value(0),
        i64::MAX
    );
}

#[test]
fn a_mean_of_decimals_is_cut_off_as_in_batch() {
    let argument = DataType::Decimal128(10, 2);
    let mut mean = make(
        AggregateFunction::Avg,
        &argument,
        &DataType::Decimal128(14, 6),
    );
    let values = Decimal128Array::from(vec![100, 100, 0]).with_data_type(argument);
    take(mean.as_mut(), Arc::new(values), &[1; 3]).unwrap();
    // 2.00 / 3
    assert_eq!(
        mean.evaluate(&[0])
            .unwrap()
            .as_primitive::<Decimal128Type>()
            .value(0),
        666_666
    );
}

#[test]
fn aggregates_that_there_are_not_are_refused() {
    let text = DataType::Utf8;
    for function in [AggregateFunction::Sum, AggregateFunction::Avg] {
        let error = accumulator(function, Some(&text), &DataType::Float64)
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("over Utf8 is not supported"),
            "{error}"
        );
    }
    let list = DataType::new_list(DataType::Int8, true);
    assert!(accumulator(AggregateFunction::Max, Some(&list), &list).is_err());
}

#[test]
fn rows_that_are_taken_back_need_a_multiset_for_the_best() {
    let text = DataType::Utf8;
    let mut best = make(AggregateFunction::Max, &text, &text);
    let values: ArrayRef = Arc::new(StringArray::from(vec!["b", "ab", "b\0"]));
    take(best.as_mut(), values.clone(), &[1; 3]).unwrap();
    assert_eq!(
        best.evaluate(&[0]).unwrap().as_string::<i32>().value(0),
        "b\0"
    );
    let error = take(best.as_mut(), values, &[1, -1, 1]).unwrap_err();
    assert!(
        matches!(error, OperatorError::UnexpectedRetraction),
        "{error}"
    );
}

/// The states written by this version; what is here must stay readable.
#[test]
fn stored_states_of_version_1() {
    let (bigint, double) = (DataType::Int64, DataType::Float64);
    let golden: [(AggregateFunction, &DataType, &[u8]); 4] = [
        (AggregateFunction::Count, &bigint, b"\x06"),
        (AggregateFunction::Sum, &bigint, b"\xd8\x04\x06"),
        (
            AggregateFunction::Min,
            &bigint,
            b"\x12\x01\x7f\xff\xff\xff\xff\xff\xff\xfe",
        ),
        (
            AggregateFunction::Avg,
            &double,
            b"\x40\x72\xc0\0\0\0\0\0\0\0\0\0\0\0\0\0\x06\0\0\0",
        ),
    ];
    for (function, data_type, bytes) in golden {
        let mut state = make(function, data_type, data_type);
        let values: ArrayRef = Arc::new(Int64Array::from(vec![-2, 2, 300]));
        let values = arrow::compute::cast(&values, data_type).unwrap();
        take(state.as_mut(), values, &[1; 3]).unwrap();
        let mut out = Vec::new();
        state.encode(0, &mut out);
        assert_eq!(out, bytes, "{function:?}");
        let mut back = make(function, data_type, data_type);
        back.merge(0, &mut Input(bytes)).unwrap();
        let (now, then) = (state.evaluate(&[0]).unwrap(), back.evaluate(&[0]).unwrap());
        assert_eq!(now.as_ref(), then.as_ref(), "{function:?}");
    }
}

proptest! {
    /// Adding rows in two halves, one of them by way of its encoded state, is adding all.
    #[test]
    fn states_merge_to_the_whole(
        values in proptest::collection::vec((-50..50i64, prop_oneof![Just(1i8), Just(-1i8)]), 1..30),
        cut in 0..30usize,
    ) {
        let cut = cut.min(values.len());
        let of = |part: &[(i64, i8)]| -> (ArrayRef, Vec<i8>) {
            (Arc::new(part.iter().map(|v| v.0).collect::<Int64Array>()), part.iter().map(|v| v.1).collect())
        };
        for (function, result) in [
            (AggregateFunction::Count, DataType::Int64),
            (AggregateFunction::Sum, DataType::Int64),
            (AggregateFunction::Avg, DataType::Float64),
        ] {
            let mut whole = make(function, &DataType::Int64, &result);
            let (all, signs) = of(&values);
            take(whole.as_mut(), all, &signs).unwrap();
            let mut first = make(function, &DataType::Int64, &result);
            let (part, signs) = of(&values[..cut]);
            take(first.as_mut(), part, &signs).unwrap();
            let mut second = make(function, &DataType::Int64, &result);
            let (part, signs) = of(&values[cut..]);
            take(second.as_mut(), part, &signs).unwrap();
            let mut state = Vec::new();
            second.encode(0, &mut state);
            first.merge(0, &mut Input(&state)).unwrap();
            let (first, whole) = (first.evaluate(&[0]).unwrap(), whole.evaluate(&[0]).unwrap());
            prop_assert_eq!(first.as_ref(), whole.as_ref());
        }
    }
}
