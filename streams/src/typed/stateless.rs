//! Nodes without state. Each calls the user's function, which all tasks share, and
//! forwards what it yields.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{Meta, Node, NodeContext, Outputs, Step};
use crate::StreamsError;
use crate::task::Progress;

/// Implements [`Node`] for a stateless node; the body sees its fields and the record.
macro_rules! stateless {
    (
        $(#[$doc:meta])*
        $name:ident<$($extra:ident),*> where F: $bound:path, out: ($ko:ty, $vo:ty);
        |$this:ident, $key:ident, $value:ident, $meta:ident, $cx:ident| $body:block
    ) => {
        $(#[$doc])*
        pub(crate) struct $name<K, V, $($extra,)* F> {
            f: Arc<F>,
            out: Outputs<$ko, $vo>,
            input: PhantomData<fn(&K, &V)>,
        }

        impl<K, V, $($extra,)* F> $name<K, V, $($extra,)* F> {
            pub(crate) fn new(f: Arc<F>, out: Outputs<$ko, $vo>) -> Self {
                Self { f, out, input: PhantomData }
            }
        }

        impl<K, V, $($extra,)* F: $bound> Node<K, V> for $name<K, V, $($extra,)* F> {
            fn process(
                &mut self,
                $key: &K,
                $value: &V,
                $meta: &Meta<'_>,
                $cx: &mut NodeContext<'_, '_>,
            ) -> Result<(), StreamsError> {
                let $this = self;
                $body
            }

            fn step(
                &mut self,
                step: Step,
                cx: &mut NodeContext<'_, '_>,
            ) -> Result<Progress, StreamsError> {
                self.out.step(step, cx)
            }
        }
    };
}

stateless! {
    /// Forwards the records that the predicate holds for.
    Filter<> where F: Fn(&K, &V) -> bool, out: (K, V);
    |this, key, value, meta, cx| {
        if (this.f)(key, value) {
            this.out.forward(key, value, meta, cx)
        } else {
            Ok(())
        }
    }
}

stateless! {
    /// Forwards one new record for each.
    Map<KO, VO> where F: Fn(&K, &V) -> (KO, VO), out: (KO, VO);
    |this, key, value, meta, cx| {
        let (key, value) = (this.f)(key, value);
        this.out.forward(&key, &value, meta, cx)
    }
}

stateless! {
    /// Forwards each record with a new value.
    MapValues<VO> where F: Fn(&K, &V) -> VO, out: (K, VO);
    |this, key, value, meta, cx| {
        let value = (this.f)(key, value);
        this.out.forward(key, &value, meta, cx)
    }
}

stateless! {
    /// Forwards each record under a new key.
    SelectKey<KO> where F: Fn(&K, &V) -> KO, out: (KO, V);
    |this, key, value, meta, cx| {
        let key = (this.f)(key, value);
        this.out.forward(&key, value, meta, cx)
    }
}

stateless! {
    /// Looks at each record and forwards it; with no outputs, the end of a stream.
    Peek<> where F: Fn(&K, &V), out: (K, V);
    |this, key, value, meta, cx| {
        (this.f)(key, value);
        this.out.forward(key, value, meta, cx)
    }
}

/// Forwards any number of new records for each.
pub(crate) struct FlatMap<K, V, KO, VO, I, F> {
    f: Arc<F>,
    out: Outputs<KO, VO>,
    input: PhantomData<fn(&K, &V) -> I>,
}

impl<K, V, KO, VO, I, F> FlatMap<K, V, KO, VO, I, F> {
    pub(crate) fn new(f: Arc<F>, out: Outputs<KO, VO>) -> Self {
        Self {
            f,
            out,
            input: PhantomData,
        }
    }
}

impl<K, V, KO, VO, I, F> Node<K, V> for FlatMap<K, V, KO, VO, I, F>
where
    I: IntoIterator<Item = (KO, VO)>,
    F: Fn(&K, &V) -> I,
{
    fn process(
        &mut self,
        key: &K,
        value: &V,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        for (key, value) in (self.f)(key, value) {
            self.out.forward(&key, &value, meta, cx)?;
        }
        Ok(())
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.out.step(step, cx)
    }
}

/// Forwards each record with any number of new values.
pub(crate) struct FlatMapValues<K, V, VO, I, F> {
    f: Arc<F>,
    out: Outputs<K, VO>,
    input: PhantomData<fn(&V) -> I>,
}

impl<K, V, VO, I, F> FlatMapValues<K, V, VO, I, F> {
    pub(crate) fn new(f: Arc<F>, out: Outputs<K, VO>) -> Self {
        Self {
            f,
            out,
            input: PhantomData,
        }
    }
}

impl<K, V, VO, I, F> Node<K, V> for FlatMapValues<K, V, VO, I, F>
where
    I: IntoIterator<Item = VO>,
    F: Fn(&K, &V) -> I,
{
    fn process(
        &mut self,
        key: &K,
        value: &V,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        for value in (self.f)(key, value) {
            self.out.forward(key, &value, meta, cx)?;
        }
        Ok(())
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.out.step(step, cx)
    }
}

/// Decides which branch a record belongs to.
pub(crate) type Predicate<K, V> = Arc<dyn Fn(&K, &V) -> bool + Send + Sync>;

/// Sends each record to the first branch whose predicate holds. Branch `i` is output
/// `i`; a default branch comes last with a predicate that always holds.
pub(crate) struct Branch<K, V> {
    pub(crate) predicates: Vec<Predicate<K, V>>,
    pub(crate) out: Outputs<K, V>,
}

impl<K, V> Node<K, V> for Branch<K, V> {
    fn process(
        &mut self,
        key: &K,
        value: &V,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        match self.predicates.iter().position(|holds| holds(key, value)) {
            Some(branch) => self.out.forward_to(branch, key, value, meta, cx),
            None => Ok(()),
        }
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.out.step(step, cx)
    }
}

/// Forwards everything: a branch's own place in the topology.
pub(crate) struct PassThrough<K, V> {
    pub(crate) out: Outputs<K, V>,
}

impl<K, V> Node<K, V> for PassThrough<K, V> {
    fn process(
        &mut self,
        key: &K,
        value: &V,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        self.out.forward(key, value, meta, cx)
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        self.out.step(step, cx)
    }
}
