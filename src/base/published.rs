//! The snapshot cell: one atomic pointer from a writer to any number of readers.
//!
//! Everything that can change under traffic (the running config, a certificate
//! bundle, a trust store) sits behind one of these. A writer stores a whole new
//! value; a reader takes a reference to the value of the moment and keeps it for
//! as long as its exchange lasts, so an exchange ends on what it began with.

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

/// A shared, replaceable, immutable value.
#[derive(Debug)]
pub struct Published<T>(Arc<ArcSwap<T>>);

impl<T> Published<T> {
    /// A cell that holds `value`.
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// Publishes `value`: one atomic store, seen by every reader's next load.
    pub fn store(&self, value: Arc<T>) {
        self.0.store(value);
    }

    /// The value of this moment.
    pub fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Hands `read` the value of this moment, without a count of references that threads would contend for.
    #[inline]
    pub fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.0.load())
    }

    /// A reader for one worker, which costs one relaxed load as long as nothing changed.
    pub fn reader(&self) -> Reader<T> {
        Reader(Cache::new(Arc::clone(&self.0)))
    }
}

impl<T> From<Arc<T>> for Published<T> {
    /// A cell that holds a value which others hold too.
    fn from(value: Arc<T>) -> Self {
        Self(Arc::new(ArcSwap::new(value)))
    }
}

impl<T> Clone for Published<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// One worker's view of a [`Published`].
#[derive(Debug)]
pub struct Reader<T>(Cache<Arc<ArcSwap<T>>, Arc<T>>);

impl<T> Reader<T> {
    /// The value of this moment.
    #[inline]
    pub fn load(&mut self) -> &Arc<T> {
        self.0.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_a_store_at_its_next_load_and_keeps_what_it_holds() {
        let cell = Published::new(1);
        let mut reader = cell.reader();
        let held = Arc::clone(reader.load());
        cell.store(Arc::new(2));
        assert_eq!((*held, **reader.load(), *cell.load()), (1, 2, 2));
    }
}
