//! Dropped secrets leave no trace in memory. The test reads the memory through `/proc`, as a
//! debugger does.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail, and measures")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use tower_activeconnect::Secret;
use tower_activeconnect::identity::SessionCredential;

/// The process's memory at this address. The allocator may use the first 16 bytes of freed memory.
fn memory<const N: usize>(address: usize) -> [u8; N] {
    let mut bytes = [1; N];
    File::open("/proc/self/mem").unwrap().read_exact_at(&mut bytes, address as u64 + 16).unwrap();
    bytes
}

// One test, so that no other thread reuses the memory before the check.
#[test]
fn dropped_secrets_are_zeroized() {
    // The method finds an ordinary text after its drop.
    let text = "s".repeat(1_000);
    let address = text.as_ptr() as usize;
    drop(text);
    assert_eq!(memory(address), [b's'; 900]);

    let text = "s".repeat(1_000);
    let address = text.as_ptr() as usize;
    let secret = Secret::new(text);
    assert_eq!(secret.expose().as_ptr() as usize, address, "taken over, not copied");
    assert_eq!(memory(address), [b's'; 900]);
    drop(secret);
    assert_eq!(memory(address), [0; 900]);

    let credential = Box::new(SessionCredential::parse(&[b'g'; 43]).unwrap());
    let address = std::ptr::from_ref(&*credential) as usize;
    assert_ne!(memory(address), [0; 16]);
    drop(credential);
    assert_eq!(memory(address), [0; 16]);
}
