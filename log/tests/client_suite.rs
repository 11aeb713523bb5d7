//! The client against a broker: every test runs in process and over TCP, and cannot tell
//! which one it has.

#[macro_use]
#[path = "client_suite/mod.rs"]
mod suite;

/// Makes a test of each function, once in process and once over TCP.
macro_rules! tests {
    (any: [$($module:ident :: $test:ident,)*] own: [$($our_module:ident :: $our_test:ident,)*]) => {
        tests! { in_process InProcess: $($module :: $test,)* $($our_module :: $our_test,)* }
        tests! { tcp Tcp: $($module :: $test,)* $($our_module :: $our_test,)* }
    };
    ($name:ident $how:ident: $($module:ident :: $test:ident,)*) => {
        mod $name {
            use super::suite::support::{Cluster, How};

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let cluster = Cluster::start(How::$how).await;
                super::suite::$module::$test(&cluster).await;
                cluster.stop().await;
            })*
        }
    };
}

client_tests!(tests);
