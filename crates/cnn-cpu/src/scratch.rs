//! Working memory of an operation, and of the tasks of a parallel loop.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use cnn_core::{Plain, Result};

use crate::fork_join::place;
use crate::pool::{Block, Pool};

/// Working memory of one owner. Unlike a buffer it is not shared, and getting one does not touch the heap.
pub(crate) struct Scratch<T: Plain> {
    block: Block,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Plain> Scratch<T> {
    /// Room for `len` numbers, which mean nothing yet.
    pub(crate) fn new(pool: &Arc<Pool>, len: usize) -> Result<Self> {
        Ok(Scratch { block: pool.take::<T>(len)?, len, of: PhantomData })
    }
}

impl<T: Plain> Deref for Scratch<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the block has room for len numbers, is aligned for any Plain, and is initialised from its allocation
        // on; Plain types have no invalid values.
        unsafe { std::slice::from_raw_parts(self.block.start().as_ptr().cast(), self.len) }
    }
}

impl<T: Plain> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in deref; there is one owner, and it is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.block.start().as_ptr().cast(), self.len) }
    }
}

/// Working memory for the tasks of a loop, `N` pieces a room, as many rooms as there are threads. All of it is taken before
/// the loop: inside, nothing can fail, and how many tasks meet by chance does not decide when the last allocation happens.
pub(crate) struct Rooms<T: Plain, const N: usize> {
    rooms: Vec<Mutex<[Scratch<T>; N]>>,
}

impl<T: Plain, const N: usize> Rooms<T, N> {
    /// `count` rooms, at least one, of pieces of these lengths.
    pub(crate) fn new(pool: &Arc<Pool>, count: usize, lens: [usize; N]) -> Result<Self> {
        let rooms = (0..count.max(1)).map(|_| {
            let mut pieces = Vec::with_capacity(N);
            for len in lens {
                pieces.push(Scratch::new(pool, len)?);
            }
            let pieces: Result<[Scratch<T>; N], _> = pieces.try_into();
            Ok(Mutex::new(pieces.unwrap_or_else(|_| unreachable!("one piece for each length"))))
        });
        Ok(Rooms { rooms: rooms.collect::<Result<_>>()? })
    }

    /// A room of one's own until it is dropped, its contents meaning nothing. There is one for every thread, which mostly takes
    /// the same one again, as it lies in its caches; who takes a second one may wait for ever.
    pub(crate) fn take(&self) -> MutexGuard<'_, [Scratch<T>; N]> {
        let (first, count) = (place(), self.rooms.len());
        let rooms = || (0..count).map(|i| &self.rooms[(first + i) % count]);
        let free = rooms().find_map(|room| match room.try_lock() {
            Ok(room) => Some(room),
            Err(TryLockError::Poisoned(room)) => Some(room.into_inner()), // a task panicked: the contents mean nothing
            Err(TryLockError::WouldBlock) => None,
        });
        let mut room =
            free.unwrap_or_else(|| self.rooms[first % count].lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        room.iter_mut().for_each(|piece| piece.block.poison_in_tests());
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_a_room_of_its_own() {
        let pool = Arc::new(Pool::default());
        let rooms = Rooms::<u32, 2>::new(&pool, 3, [4, 0]).unwrap();
        let mut taken = [rooms.take(), rooms.take(), rooms.take()];
        for (i, room) in taken.iter_mut().enumerate() {
            assert_eq!((room[0].len(), room[1].len()), (4, 0));
            room[0].fill(i as u32);
        }
        assert!(taken.iter().enumerate().all(|(i, room)| *room[0] == [i as u32; 4]));
        drop(taken);
        std::thread::scope(|scope| {
            for task in 0..8 {
                let rooms = &rooms; // fewer than the tasks: some wait
                scope.spawn(move || {
                    for _ in 0..100 {
                        let mut room = rooms.take();
                        room[0].fill(task);
                        std::hint::black_box(&mut room);
                        assert_eq!(*room[0], [task; 4]);
                    }
                });
            }
        });
    }

    #[test]
    fn rooms_that_cannot_be_had_are_an_error() {
        let pool = Arc::new(Pool::default());
        assert!(Rooms::<f32, 2>::new(&pool, 2, [1, usize::MAX]).is_err());
        assert!(Rooms::<f32, 1>::new(&pool, 0, [1]).unwrap().take()[0].len() == 1);
    }
}
