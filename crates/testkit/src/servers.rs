//! Real servers for tests: a PostgreSQL cluster that the tests of one run share, a database of its own for each test, and
//! clusters that a test may stop; real proxies; and a certification authority.
//!
//! [`on_both!`](crate::on_both) makes of each test body two tests, one per engine.

mod authority;
mod home;
mod pg;
mod proxies;

pub use authority::{Authority, Certified};
pub use home::Home;
pub use pg::{Cluster, Database};
pub use proxies::{Login, Proxy};

/// Makes two tests of each `async fn(Home)`: one in a module `sqlite`, one in a module `postgres`.
///
/// The bodies stay functions of their own, so that one that is not listed is an unused function.
#[macro_export]
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::servers::Home::embedded().unwrap()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test($crate::servers::Home::on_server().unwrap()).await;
            })*
        }
    };
}
