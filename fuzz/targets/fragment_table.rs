#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    footage::fuzzing::fragment_table(data);
});
