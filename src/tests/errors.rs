//! What the operators refuse, and in which words. A device is needed, since tensors are a device's.

use super::harness::devices;
use expertile::{
    Buffer, Device, Dtype, Norm, Pairing, Platform, Residual, Rope, Stream, Tensor, TensorMut,
    layer_norm, rope,
};

fn text<T>(result: expertile::Result<T>) -> String {
    match result {
        Ok(_) => "no error".into(),
        Err(error) => error.to_string(),
    }
}

struct Arena {
    bf16: Buffer,
    out: Buffer,
    cache: [Buffer; 2],
    i32: Buffer,
    i64: Buffer,
    f32: Buffer,
}

impl Arena {
    fn new(device: &Device) -> Arena {
        let buffer = |dtype| Buffer::new(device, dtype, 4096).unwrap();
        Arena {
            bf16: buffer(Dtype::Bf16),
            out: buffer(Dtype::Bf16),
            cache: [buffer(Dtype::Bf16), buffer(Dtype::Bf16)],
            i32: buffer(Dtype::I32),
            i64: buffer(Dtype::I64),
            f32: buffer(Dtype::F32),
        }
    }

    fn norm(
        &mut self,
        stream: &Stream,
        x: &[u64],
        weight: u64,
        out: &[u64],
        epsilon: f32,
    ) -> String {
        let arguments = Norm {
            x: self.bf16.tensor(x).unwrap(),
            residual: Residual::None,
            weight: self.bf16.tensor(&[weight]).unwrap(),
            out: self.out.tensor_mut(out).unwrap(),
            epsilon,
        };
        text(layer_norm(stream, &arguments))
    }

    fn rope(&mut self, stream: &Stream, qkv: [u64; 3], tokens: u64, kv_heads: u64) -> String {
        let [k_cache, v_cache] = &mut self.cache;
        let cache = [2, 4, kv_heads, qkv[2]];
        let arguments = Rope {
            qkv: self.bf16.tensor_mut(&qkv).unwrap(),
            positions: self.i32.tensor(&[tokens]).unwrap(),
            inv_freq: self.f32.tensor(&[qkv[2] / 2]).unwrap(),
            k_cache: k_cache.tensor_mut(&cache).unwrap(),
            v_cache: v_cache.tensor_mut(&cache).unwrap(),
            slot_mapping: self.i64.tensor(&[tokens]).unwrap(),
            clip: None,
            pairing: Pairing::Halves,
        };
        text(rope(stream, &arguments))
    }
}

#[test]
fn refusals_carry_the_numbers() {
    for device in devices() {
        let stream = device.stream().unwrap();
        let mut arena = Arena::new(device);
        let norm = |arena: &mut Arena, x: &[u64], weight, out: &[u64], epsilon| {
            arena.norm(&stream, x, weight, out, epsilon)
        };
        assert_eq!(
            norm(&mut arena, &[3, 16], 16, &[3, 24], 1e-5),
            "layer_norm: out has shape [3, 24], expected [3, 16]"
        );
        assert_eq!(
            norm(&mut arena, &[3, 16], 24, &[3, 16], 1e-5),
            "layer_norm: weight has shape [24], expected [16]"
        );
        assert_eq!(
            norm(&mut arena, &[3, 16], 16, &[3, 16], -1.0),
            "layer_norm: epsilon is -1, expected at least 0"
        );
        assert_eq!(
            norm(&mut arena, &[3, 12], 12, &[3, 12], 0.0),
            "layer_norm: no kernel for hidden 12, only for multiples of 8 from 8 to 16384"
        );
        assert_eq!(norm(&mut arena, &[0, 16], 16, &[0, 16], 0.0), "no error");

        let ropes =
            |arena: &mut Arena, qkv, tokens, kv_heads| arena.rope(&stream, qkv, tokens, kv_heads);
        assert_eq!(
            ropes(&mut arena, [8, 4, 16], 7, 1),
            "rope: positions has shape [7], expected [8]"
        );
        assert_eq!(
            ropes(&mut arena, [8, 3, 16], 8, 2),
            "rope: qkv is of 3 heads, expected at least 2 * 2 heads of keys and values"
        );
        assert_eq!(
            ropes(&mut arena, [2, 4, 20], 2, 1),
            "rope: no kernel for head_dim 20, only for multiples of 8 from 16 to 256"
        );
        assert_eq!(ropes(&mut arena, [0, 4, 16], 0, 1), "no error");
    }
}

#[test]
fn more_tokens_than_a_grid_takes_are_refused() {
    for device in devices() {
        let stream = device.stream().unwrap();
        let tokens = device.info().platform.grid_end(256);
        let of = |dtype, shape: &[u64]| {
            // SAFETY: nothing is launched with them.
            unsafe { Tensor::from_raw(device, 1 << 20, dtype, shape, None) }.unwrap()
        };
        let of_mut = |shape: &[u64]| {
            // SAFETY: nothing is launched with them.
            unsafe { TensorMut::from_raw(device, 1 << 20, Dtype::Bf16, shape, None) }.unwrap()
        };
        let arguments = Rope {
            qkv: of_mut(&[tokens, 3, 16]),
            positions: of(Dtype::I32, &[tokens]),
            inv_freq: of(Dtype::F32, &[8]),
            k_cache: of_mut(&[1, 1, 1, 16]),
            v_cache: of_mut(&[1, 1, 1, 16]),
            slot_mapping: of(Dtype::I64, &[tokens]),
            clip: None,
            pairing: Pairing::Halves,
        };
        let expected = format!("rope: no kernel for tokens {tokens}, only for less than {tokens}");
        assert_eq!(text(rope(&stream, &arguments)), expected);
    }
}

#[test]
fn views_stay_within_their_buffer() {
    for device in devices() {
        let mut buffer = Buffer::new(device, Dtype::F32, 100).unwrap();
        assert_eq!(
            text(buffer.tensor(&[101])),
            "buffer: shape is [101] with strides None at offset 0, expected within 100 elements"
        );
        assert_eq!(text(buffer.strided(&[2, 10], &[90, 1], 0)), "no error");
        assert_ne!(text(buffer.strided(&[2, 10], &[90, 1], 1)), "no error");
        assert_ne!(text(buffer.strided(&[2, 2], &[u64::MAX, 1], 0)), "no error");
        assert_ne!(text(buffer.tensor(&[1 << 40, 1 << 40])), "no error");
        assert_ne!(text(buffer.tensor(&[1, 1, 1, 1, 1])), "no error");
        assert_eq!(
            text(buffer.strided_mut(&[2, 10], &[5, 1], 0)),
            "tensor: strides is [5, 1] with shape [2, 10], expected rows that do not overlap"
        );
        assert_eq!(text(buffer.strided_mut(&[10, 2], &[1, 50], 0)), "no error");
    }
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    for platform in Platform::ALL {
        let count = Device::count(platform);
        let asked = count.clone().unwrap_or(0);
        let error = Device::open(platform, asked).unwrap_err();
        assert!(matches!(error, expertile::Error::Unavailable { .. }), "{error}");
        let found = format!("device {asked} was asked for, and the driver finds {asked}");
        let reason =
            count.map_or_else(|error| error.to_string(), |_| format!("{platform}: {found}"));
        assert_eq!(error.to_string(), reason);
    }
}
