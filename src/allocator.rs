//! The allocator of the VM: the standard library's, with short lists of free blocks in front. A request allocates some dozens of
//! small blocks and frees them; to take a block from a list costs a fraction of what the general allocator costs.

#![allow(unsafe_code)] // The trait of an allocator is unsafe.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    ptr::null_mut,
};

/// Sizes are rounded up to a multiple of this number of bytes. One list holds the free blocks of one size.
const STEP: usize = 16;
const LISTS: usize = 64;
/// The strictest alignment that the general allocator gives each block.
const ALIGNMENT: usize = 8;
/// How many bytes one list holds. Other free blocks go back to the general allocator, so that a flood of one size leaves the
/// memory to other sizes.
const LIST_BYTES: usize = 4096;

/// The free blocks of one size. The first word of each block points to the next block.
struct List {
    first: Cell<*mut u8>,
    count: Cell<usize>,
}

/// The allocator.
pub(crate) struct Allocator<A = System> {
    general: A,
    lists: [List; LISTS],
}

#[cfg(all(target_arch = "wasm32", feature = "filter"))]
#[global_allocator]
static ALLOCATOR: Allocator = Allocator::new(System);

// SAFETY: a VM of this target has one thread. Elsewhere, only tests use an allocator, and each uses its own.
unsafe impl<A> Sync for Allocator<A> {}

impl<A> Allocator<A> {
    const fn new(general: A) -> Self {
        Self { general, lists: [const { List { first: Cell::new(null_mut()), count: Cell::new(0) } }; LISTS] }
    }

    /// The list for blocks of this layout, and the layout of a block in that list.
    fn list(&self, layout: Layout) -> Option<(&List, Layout)> {
        if layout.align() > ALIGNMENT {
            return None;
        }
        let index = layout.size().checked_sub(1)? / STEP;
        let list = self.lists.get(index)?;
        let size = index.saturating_add(1).saturating_mul(STEP);
        Some((list, Layout::from_size_align(size, ALIGNMENT).ok()?))
    }
}

// SAFETY: a block comes from the general allocator with the layout of its list, is on at most one list, is on none while
// somebody owns the block, and goes back with the same layout.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Allocator<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((list, block)) = self.list(layout) else { return unsafe { self.general.alloc(layout) } };
        let first = list.first.get();
        if first.is_null() {
            return unsafe { self.general.alloc(block) };
        }
        list.first.set(unsafe { first.cast::<*mut u8>().read() });
        list.count.set(list.count.get().saturating_sub(1));
        first
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((list, block)) = self.list(layout) else { return unsafe { self.general.dealloc(pointer, layout) } };
        if list.count.get().saturating_mul(block.size()) >= LIST_BYTES {
            return unsafe { self.general.dealloc(pointer, block) };
        }
        unsafe { pointer.cast::<*mut u8>().write(list.first.get()) };
        list.first.set(pointer);
        list.count.set(list.count.get().saturating_add(1));
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the size is good for this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (self.list(layout).map(|(_, block)| block), self.list(wanted).map(|(_, block)| block)) {
            (Some(old), Some(new)) if old == new => pointer,
            (None, None) => unsafe { self.general.realloc(pointer, layout, size) },
            _ => {
                let moved = unsafe { self.alloc(wanted) };
                if !moved.is_null() {
                    unsafe {
                        pointer.copy_to_nonoverlapping(moved, layout.size().min(size));
                        self.dealloc(pointer, layout);
                    }
                }
                moved
            }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if self.list(layout).is_none() {
            return unsafe { self.general.alloc_zeroed(layout) };
        }
        let pointer = unsafe { self.alloc(layout) };
        if !pointer.is_null() {
            unsafe { pointer.write_bytes(0, layout.size()) };
        }
        pointer
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use super::*;

    /// The system's allocator, which knows each block that was not freed.
    struct Strict(RefCell<BTreeMap<usize, Layout>>);

    // SAFETY: the system's allocator does the work.
    unsafe impl GlobalAlloc for Strict {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let pointer = unsafe { System.alloc(layout) };
            self.0.borrow_mut().insert(pointer as usize, layout);
            pointer
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            assert_eq!(self.0.borrow_mut().remove(&(pointer as usize)), Some(layout));
            unsafe { System.dealloc(pointer, layout) };
        }
    }

    /// A block with the byte that fills it.
    struct Owned(*mut u8, Layout, u8);

    impl Owned {
        fn bytes(&mut self) -> &mut [u8] {
            unsafe { std::slice::from_raw_parts_mut(self.0, self.1.size()) }
        }

        fn check(mut self) -> Self {
            let fill = self.2;
            assert!(self.bytes().iter().all(|byte| *byte == fill));
            self
        }
    }

    #[test]
    fn blocks_belong_to_one_owner_each_and_all_go_back() {
        let allocator = Allocator::new(Strict(RefCell::default()));
        let mut random = fastrand::Rng::with_seed(7);
        let mut owned: Vec<Owned> = Vec::new();
        for step in 0..50_000_u32 {
            let size = [random.usize(1..40), random.usize(1..1100), random.usize(1000..5000)][random.usize(..3)];
            let layout = Layout::from_size_align(size, 1 << random.usize(..5)).unwrap();
            let fill = step as u8;
            match random.u8(..4) {
                0 | 1 if owned.len() < 300 => {
                    let is_zeroed = random.bool();
                    let pointer = unsafe {
                        if is_zeroed {
                            allocator.alloc_zeroed(layout)
                        } else {
                            allocator.alloc(layout)
                        }
                    };
                    assert_eq!(pointer.align_offset(layout.align()), 0);
                    let mut block = Owned(pointer, layout, fill);
                    assert!(!is_zeroed || block.bytes().iter().all(|byte| *byte == 0));
                    block.bytes().fill(fill);
                    owned.push(block);
                }
                2 if !owned.is_empty() => {
                    let Owned(pointer, before, byte) = owned.swap_remove(random.usize(..owned.len()));
                    let pointer = unsafe { allocator.realloc(pointer, before, size) };
                    let mut block = Owned(pointer, Layout::from_size_align(size, before.align()).unwrap(), byte);
                    assert!(block.bytes()[..size.min(before.size())].iter().all(|kept| *kept == byte));
                    block.bytes().fill(byte);
                    owned.push(block);
                }
                _ if !owned.is_empty() => {
                    let block = owned.swap_remove(random.usize(..owned.len())).check();
                    unsafe { allocator.dealloc(block.0, block.1) };
                }
                _ => {}
            }
        }
        for block in owned.drain(..).map(Owned::check) {
            unsafe { allocator.dealloc(block.0, block.1) };
        }
        // What is left is on the lists, and bounded.
        let kept: usize = allocator.general.0.borrow().values().map(Layout::size).sum();
        let listed: usize = allocator.lists.iter().zip(1..).map(|(list, n)| list.count.get() * n * STEP).sum();
        assert_eq!(kept, listed);
        assert!(kept > 0 && kept <= LISTS * (LIST_BYTES + LISTS * STEP), "{kept}");
    }

    #[test]
    fn a_freed_block_is_used_again() {
        let allocator = Allocator::new(Strict(RefCell::default()));
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        let first = unsafe { allocator.alloc(layout(33)) };
        unsafe { allocator.dealloc(first, layout(33)) };
        assert_eq!(unsafe { allocator.alloc(layout(48)) }, first);
        assert_eq!(unsafe { allocator.realloc(first, layout(48), 40) }, first);
        assert_eq!(allocator.general.0.borrow().len(), 1);
    }
}
