//! Independent pieces of work on as many threads as there are cores.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does `work` for every number below `count`, lowest first, until one of them says that this was enough.
pub(super) fn until(count: usize, work: impl Fn(usize) -> bool + Sync) {
    until_beside(0, count, work);
}

/// The same, where other work keeps `busy` cores busy meanwhile.
fn until_beside(busy: usize, count: usize, work: impl Fn(usize) -> bool + Sync) {
    let next = AtomicUsize::new(0);
    let worker = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                return;
            }
            if work(n) {
                next.store(count, Ordering::Relaxed);
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get).saturating_sub(busy);
    thread::scope(|scope| {
        for _ in 1..cores.min(count) {
            scope.spawn(worker);
        }
        worker();
    });
}

/// What `search` finds, for the lowest number below `count` for which it finds anything; or why it could not.
pub(super) fn first<T: Send, E: Send>(
    count: usize,
    search: impl Fn(usize) -> Result<Option<T>, E> + Sync,
) -> Result<Option<T>, E> {
    let best: Mutex<Option<(usize, Result<T, E>)>> = Mutex::new(None);
    until(count, |n| {
        let Some(found) = search(n).transpose() else { return false };
        // Lower numbers are all under way already: they will be heard as well.
        let mut best = best.lock().unwrap_or_else(|e| e.into_inner());
        if best.as_ref().is_none_or(|(other, _)| n < *other) {
            *best = Some((n, found));
        }
        true
    });
    best.into_inner().unwrap_or_else(|e| e.into_inner()).map(|(_, found)| found).transpose()
}

/// The results of `work` for every number below `count`, in order.
pub(super) fn all<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    all_beside(0, count, work)
}

/// The same, where other work keeps `busy` cores busy meanwhile.
pub(super) fn all_beside<T: Send>(busy: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let results = Mutex::new(Vec::with_capacity(count));
    until_beside(busy, count, |n| {
        let result = work(n);
        results.lock().unwrap_or_else(|e| e.into_inner()).push((n, result));
        false
    });
    let mut results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    results.sort_by_key(|(n, _)| *n);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_and_comes_in_order() {
        assert_eq!(all(1000, |n| n * 2), (0..1000).map(|n| n * 2).collect::<Vec<_>>());
        assert!(all(0, |n| n).is_empty());
    }

    #[test]
    fn the_first_that_is_found_counts() {
        let search = |n: usize| if n == 7 { Err(n) } else { Ok((n % 10 == 5).then_some(n)) };
        assert_eq!(first(1000, search), Ok(Some(5)));
        assert_eq!(first(5, search), Ok(None));
        assert_eq!(first(1000, |n| search(n + 6)), Err(7));
    }

    #[test]
    fn enough_is_enough() {
        let done = AtomicUsize::new(0);
        until(1_000_000, |n| {
            done.fetch_add(1, Ordering::Relaxed);
            n >= 10
        });
        assert!(done.into_inner() < 1_000_000);
    }
}
