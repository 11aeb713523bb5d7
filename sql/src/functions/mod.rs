//! The scalar functions of queries: DataFusion's, and the window functions that `TUMBLE`
//! and `HOP` turn into.

mod window;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{ScalarUDF, Volatility};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

pub use window::{HOP, SHIFT, TUMBLE, hop_starts, window_functions, window_start};

static FUNCTIONS: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let mut by_name = HashMap::new();
    for function in SessionStateDefaults::default_scalar_functions()
        .into_iter()
        .chain(window_functions())
    {
        for alias in function.aliases() {
            by_name.insert(alias.clone(), Arc::clone(&function));
        }
        by_name.insert(function.name().to_owned(), function);
    }
    by_name
});

/// The function of that name, as plans store it.
pub fn scalar(name: &str) -> Option<Arc<ScalarUDF>> {
    FUNCTIONS.get(name).cloned()
}

/// Whether the result depends on more than the arguments, such as the time of the call. A
/// streaming query could not take back what such a function once returned.
pub fn is_volatile(function: &ScalarUDF) -> bool {
    function.signature().volatility != Volatility::Immutable
}
