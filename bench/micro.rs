//! Micro-benchmarks of the pieces that a request passes through: `cargo bench --bench micro`.
//!
//! Here now: AES-GCM on aws-lc-rs alone, the least that a TLS record can cost.
//! To be added beside it as the modules land:
//!
//! - `ringate::http1`: request and response head parse, head encode, chunked decode and encode
//! - `ringate::route`: lookup of host and path in tables of 1, 100 and 10,000 routes; of SNI
//! - `ringate::tls`: record seal and open at 1 KiB and 16 KiB, whose distance to the figures here is the
//!   price of the record layer
//! - the upstream pool: check-out and check-in of a connection

use std::hint::black_box;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

/// The header of a TLS 1.3 record, which is its additional data (RFC 8446 §5.2).
const RECORD_HEADER: [u8; 5] = [23, 3, 3, 0x40, 0x11];
const SIZES: [(&str, usize); 2] = [("1KiB", 1024), ("16KiB", 16 * 1024)];
const CIPHERS: [(&str, &Algorithm); 2] = [("aes-128-gcm", &AES_128_GCM), ("aes-256-gcm", &AES_256_GCM)];

fn key(algorithm: &'static Algorithm) -> LessSafeKey {
    let bytes = [7; 32];
    let key = UnboundKey::new(algorithm, &bytes[..algorithm.key_len()]).expect("the key has its length");
    LessSafeKey::new(key)
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([3; NONCE_LEN])
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for (cipher, algorithm) in CIPHERS {
        let key = key(algorithm);
        for (name, size) in SIZES {
            let mut record = vec![0; size];
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("{cipher}/{name}"), |bencher| {
                bencher.iter(|| {
                    key.seal_in_place_separate_tag(nonce(), Aad::from(RECORD_HEADER), black_box(&mut record))
                });
            });
        }
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for (cipher, algorithm) in CIPHERS {
        let key = key(algorithm);
        for (name, size) in SIZES {
            let mut sealed = vec![0; size];
            key.seal_in_place_append_tag(nonce(), Aad::from(RECORD_HEADER), &mut sealed).expect("it seals");
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("{cipher}/{name}"), |bencher| {
                // Opening overwrites the record, so that each iteration needs a copy of its own.
                bencher.iter_batched_ref(
                    || sealed.clone(),
                    |record| {
                        let opened = key.open_in_place(nonce(), Aad::from(RECORD_HEADER), record);
                        black_box(opened.expect("it opens").len())
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
