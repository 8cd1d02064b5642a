//! The memory ceiling's kernel reads everything, once.

use super::devices;
use expertile::probe::{read_stream, read_stream_outputs};
use expertile::{Buffer, Dtype, Result};

#[test]
fn the_read_stream_reads_every_word() -> Result<()> {
    for device in devices() {
        let stream = device.stream()?;
        let threads = read_stream_outputs(device.info().multiprocessors);
        // Fewer vectors than threads, and more than eight rounds of them less a few.
        for vectors in [1, 1000, 9 * threads - 5] {
            let mut random = fastrand::Rng::with_seed(vectors);
            let words: Vec<i32> = (0..4 * vectors).map(|_| random.i32(..)).collect();
            let input = Buffer::from_slice(&stream, &words)?;
            let mut output = Buffer::new(device, Dtype::I32, threads)?;
            output.fill_bytes(&stream, 0xa5)?;
            read_stream(&stream, &input, &mut output)?;
            let folds = output.read::<i32>(&stream)?;
            let [want, got] = [words, folds].map(|all| all.iter().fold(0, |fold, x| fold ^ x));
            assert_eq!(got, want, "{vectors} vectors on {device}");
        }
    }
    Ok(())
}

#[test]
fn probes_refuse_what_does_not_fit() -> Result<()> {
    for device in devices() {
        let stream = device.stream()?;
        let input = Buffer::new(device, Dtype::F32, 64)?;
        let mut output = Buffer::new(device, Dtype::I32, 7)?;
        let error = read_stream(&stream, &input, &mut output).unwrap_err().to_string();
        assert!(error.contains("f32") && error.contains("i32"), "{error}");
        let input = Buffer::new(device, Dtype::I32, 64)?;
        let error = read_stream(&stream, &input, &mut output).unwrap_err().to_string();
        assert!(error.contains("[7]"), "{error}");
    }
    Ok(())
}
