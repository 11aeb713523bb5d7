//! What flows along the edges of a table.

/// An update of one row of a table: what it was and what it is now. `None` is absent,
/// so a delete has no new value and an insert no old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<V> {
    /// The row before the update.
    pub old: Option<V>,
    /// The row after the update.
    pub new: Option<V>,
}
