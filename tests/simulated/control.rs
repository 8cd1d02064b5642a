//! The library of the simulated driver, which tests of several programs load.

use libloading::Library;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The simulated driver, for one test at a time: it counts for the whole process.
pub(crate) struct Control {
    library: Library,
    _alone: MutexGuard<'static, ()>,
}

impl Control {
    /// The driver, if it has a function of that name; `EXPERTILE_REQUIRE=simulated` makes it a failure
    /// that there is none.
    pub(crate) fn find(name: &str) -> Option<Control> {
        static ONE: Mutex<()> = Mutex::new(());
        // SAFETY: loading a driver runs its initialisers, which is what every CUDA program does.
        let library = unsafe { Library::new("libcuda.so.1") }.ok();
        let library = library.filter(|library| {
            // SAFETY: the address is not called.
            unsafe { library.get::<unsafe extern "C" fn()>(name) }.is_ok()
        });
        let Some(library) = library else {
            let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
            assert!(!required.contains("simulated"), "no simulated driver");
            eprintln!("skipped: no simulated driver");
            return None;
        };
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Control { library, _alone: alone })
    }

    /// Calls a function of the library.
    ///
    /// # Safety
    ///
    /// It has the type, and takes the arguments.
    pub(crate) unsafe fn call<F: Copy, R>(&self, name: &str, call: impl FnOnce(F) -> R) -> R {
        // SAFETY: the caller vouches for the type.
        call(*unsafe { self.library.get::<F>(name) }.unwrap())
    }

    /// What a function of the library writes.
    pub(crate) fn text(&self, name: &str) -> String {
        type Text = unsafe extern "C" fn(*mut u8, usize) -> usize;
        // SAFETY: the type is that of the documentation; there is as much room as stated.
        unsafe {
            self.call(name, |text: Text| {
                let mut bytes = vec![0; text(std::ptr::null_mut(), 0)];
                let length = text(bytes.as_mut_ptr(), bytes.len()).min(bytes.len());
                String::from_utf8_lossy(&bytes[..length]).trim_end_matches('\0').to_owned()
            })
        }
    }
}
