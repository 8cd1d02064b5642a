//! Names of instructions that are not modelled, so that a refusal can say them.

use super::instruction::{Format, Instruction};
use super::opcodes::Opcode;

/// For a refusal: the instruction's name, or its number in its format.
pub(super) fn name_of(i: &Instruction) -> String {
    if i.opcode != Opcode::unknown {
        return format!("{:?}", i.opcode);
    }
    let of_format = NAMES.iter().find(|(format, _)| *format == i.format);
    let mut words = of_format.map_or("", |(_, names)| names).split_whitespace();
    while let (Some(code), Some(name)) = (words.next(), words.next()) {
        if u16::from_str_radix(code, 16) == Ok(i.code) {
            return name.to_owned();
        }
    }
    format!("{:?} instruction {:#x}", i.format, i.code)
}

/// Numbers (hexadecimal) and names by format, as LLVM's disassembler has them for gfx90a, gfx942 and
/// gfx950; two names where a number has two meanings.
#[rustfmt::skip]
static NAMES: [(Format, &str); 13] = [
    (
        Format::Sop2,
        "29 s_cbranch_g_fork 2b s_rfe_restore_b64",
    ),
    (
        Format::Sopk,
        "10 s_cbranch_i_fork 11 s_getreg_b32 12 s_setreg_b32 14 s_setreg_imm32_b32",
    ),
    (
        Format::Sop1,
        "6 s_wqm_b32 7 s_wqm_b64 1c s_getpc_b64 1d s_setpc_b64 1e s_swappc_b64 1f s_rfe_b64 \
         28 s_quadmask_b32 29 s_quadmask_b64 2a s_movrels_b32 2b s_movrels_b64 2c s_movreld_b32 \
         2d s_movreld_b64 2e s_cbranch_join 32 s_set_gpr_idx_idx",
    ),
    (
        Format::Sopc,
        "10 s_setvskip 11 s_set_gpr_idx_on",
    ),
    (
        Format::Sopp,
        "b s_setkill d s_sethalt 10 s_sendmsg 11 s_sendmsghalt 14 s_incperflevel \
         15 s_decperflevel 17 s_cbranch_cdbgsys 18 s_cbranch_cdbguser \
         19 s_cbranch_cdbgsys_or_user 1a s_cbranch_cdbgsys_and_user 1d s_set_gpr_idx_mode",
    ),
    (
        Format::Smem,
        "5 s_scratch_load_dword 6 s_scratch_load_dwordx2 7 s_scratch_load_dwordx4 \
         8 s_buffer_load_dword 9 s_buffer_load_dwordx2 a s_buffer_load_dwordx4 \
         b s_buffer_load_dwordx8 c s_buffer_load_dwordx16 10 s_store_dword 11 s_store_dwordx2 \
         12 s_store_dwordx4 15 s_scratch_store_dword 16 s_scratch_store_dwordx2 \
         17 s_scratch_store_dwordx4 18 s_buffer_store_dword 19 s_buffer_store_dwordx2 \
         1a s_buffer_store_dwordx4 26 s_atc_probe 27 s_atc_probe_buffer 28 s_dcache_discard \
         29 s_dcache_discard_x2 40 s_buffer_atomic_swap 41 s_buffer_atomic_cmpswap \
         42 s_buffer_atomic_add 43 s_buffer_atomic_sub 44 s_buffer_atomic_smin \
         45 s_buffer_atomic_umin 46 s_buffer_atomic_smax 47 s_buffer_atomic_umax \
         48 s_buffer_atomic_and 49 s_buffer_atomic_or 4a s_buffer_atomic_xor \
         4b s_buffer_atomic_inc 4c s_buffer_atomic_dec 60 s_buffer_atomic_swap_x2 \
         61 s_buffer_atomic_cmpswap_x2 62 s_buffer_atomic_add_x2 63 s_buffer_atomic_sub_x2 \
         64 s_buffer_atomic_smin_x2 65 s_buffer_atomic_umin_x2 66 s_buffer_atomic_smax_x2 \
         67 s_buffer_atomic_umax_x2 68 s_buffer_atomic_and_x2 69 s_buffer_atomic_or_x2 \
         6a s_buffer_atomic_xor_x2 6b s_buffer_atomic_inc_x2 6c s_buffer_atomic_dec_x2 \
         80 s_atomic_swap 81 s_atomic_cmpswap 82 s_atomic_add 83 s_atomic_sub 84 s_atomic_smin \
         85 s_atomic_umin 86 s_atomic_smax 87 s_atomic_umax 88 s_atomic_and 89 s_atomic_or \
         8a s_atomic_xor 8b s_atomic_inc 8c s_atomic_dec a0 s_atomic_swap_x2 \
         a1 s_atomic_cmpswap_x2 a2 s_atomic_add_x2 a3 s_atomic_sub_x2 a4 s_atomic_smin_x2 \
         a5 s_atomic_umin_x2 a6 s_atomic_smax_x2 a7 s_atomic_umax_x2 a8 s_atomic_and_x2 \
         a9 s_atomic_or_x2 aa s_atomic_xor_x2 ab s_atomic_inc_x2 ac s_atomic_dec_x2",
    ),
    (
        Format::Vop1,
        "3 v_cvt_i32_f64 4 v_cvt_f64_i32 e v_cvt_off_f32_i4 f v_cvt_f32_f64 10 v_cvt_f64_f32 \
         15 v_cvt_u32_f64 16 v_cvt_f64_u32 17 v_trunc_f64 18 v_ceil_f64 19 v_rndne_f64 \
         1a v_floor_f64 25 v_rcp_f64 26 v_rsq_f64 28 v_sqrt_f64 30 v_frexp_exp_i32_f64 \
         31 v_frexp_mant_f64 32 v_fract_f64 37 v_screen_partition_4se_b32 3d v_rcp_f16 \
         3e v_sqrt_f16 3f v_rsq_f16 40 v_log_f16 41 v_exp_f16 42 v_frexp_mant_f16 \
         43 v_frexp_exp_i16_f16 49 v_sin_f16 4a v_cos_f16 4b v_exp_legacy_f32 \
         4c v_log_legacy_f32 4d v_cvt_norm_i16_f16 4e v_cvt_norm_u16_f16 4f v_sat_pk_u8_i16 \
         54 v_cvt_f32_fp8 55 v_cvt_f32_bf8 56 v_cvt_pk_f32_fp8 57 v_cvt_pk_f32_bf8 \
         58 v_prng_b32 59 v_permlane16_swap_b32 5a v_permlane32_swap_b32",
    ),
    (
        Format::Vop2,
        "4 v_fmac_f64 23 v_mac_f16 24 v_madmk_f16 25 v_madak_f16 33 v_ldexp_f16 \
         37 v_dot2c_f32_f16 38 v_dot2c_i32_i16 39 v_dot4c_i32_i8 3a v_dot8c_i32_i4 \
         3c v_pk_fmac_f16",
    ),
    (
        Format::Vop3,
        "1c0 v_mad_legacy_f32 1c4 v_cubeid_f32 1c5 v_cubesc_f32 1c6 v_cubetc_f32 \
         1c7 v_cubema_f32 1cc v_fma_f64 1cd v_lerp_u8 1d9 v_sad_u8 1da v_sad_hi_u8 \
         1db v_sad_u16 1dc v_sad_u32 1dd v_cvt_pk_u8_f32 1df v_div_fixup_f64 \
         1e1 v_div_scale_f64 1e3 v_div_fmas_f64 1e4 v_msad_u8 1e5 v_qsad_pk_u16_u8 \
         1e6 v_mqsad_pk_u16_u8 1e7 v_mqsad_u32_u8 1ea v_mad_legacy_f16 1eb v_mad_legacy_u16 \
         1ec v_mad_legacy_i16 1ee v_fma_legacy_f16 1ef v_div_fixup_legacy_f16 \
         1f0 v_cvt_pkaccum_u8_f32 1f1 v_mad_u32_u16 1f2 v_mad_i32_i16 1f4 v_min3_f16 \
         1f5 v_min3_i16 1f6 v_min3_u16 1f7 v_max3_f16 1f8 v_max3_i16 1f9 v_max3_u16 \
         1fa v_med3_f16 1fb v_med3_i16 1fc v_med3_u16 203 v_mad_f16 204 v_mad_u16 205 v_mad_i16 \
         207 v_div_fixup_f16 233 v_bitop3_b16 234 v_bitop3_b32 235 v_cvt_scalef32_pk_fp8_f32 \
         236 v_cvt_scalef32_pk_bf8_f32 237 v_cvt_scalef32_sr_fp8_f32 \
         238 v_cvt_scalef32_sr_bf8_f32 239 v_cvt_scalef32_pk_f32_fp8 \
         23a v_cvt_scalef32_pk_f32_bf8 23b v_cvt_scalef32_f32_fp8 23c v_cvt_scalef32_f32_bf8 \
         23d v_cvt_scalef32_pk_fp4_f32 23e v_cvt_scalef32_sr_pk_fp4_f32 \
         23f v_cvt_scalef32_pk_f32_fp4 240 v_cvt_scalef32_pk_fp8_f16 \
         241 v_cvt_scalef32_pk_bf8_f16 242 v_cvt_scalef32_sr_fp8_f16 \
         243 v_cvt_scalef32_sr_bf8_f16 244 v_cvt_scalef32_pk_fp8_bf16 \
         245 v_cvt_scalef32_pk_bf8_bf16 246 v_cvt_scalef32_sr_fp8_bf16 \
         247 v_cvt_scalef32_sr_bf8_bf16 248 v_cvt_scalef32_pk_f16_fp8 \
         249 v_cvt_scalef32_pk_f16_bf8 24a v_cvt_scalef32_f16_fp8 24b v_cvt_scalef32_f16_bf8 \
         24c v_cvt_scalef32_pk_fp4_f16 24d v_cvt_scalef32_pk_fp4_bf16 \
         24e v_cvt_scalef32_sr_pk_fp4_f16 24f v_cvt_scalef32_sr_pk_fp4_bf16 \
         250 v_cvt_scalef32_pk_f16_fp4 251 v_cvt_scalef32_pk_bf16_fp4 \
         252 v_cvt_scalef32_2xpk16_fp6_f32 253 v_cvt_scalef32_2xpk16_bf6_f32 \
         254 v_cvt_scalef32_sr_pk32_fp6_f32 255 v_cvt_scalef32_sr_pk32_bf6_f32 \
         256 v_cvt_scalef32_pk32_f32_fp6 257 v_cvt_scalef32_pk32_f32_bf6 \
         258 v_cvt_scalef32_pk32_fp6_f16 259 v_cvt_scalef32_pk32_fp6_bf16 \
         25a v_cvt_scalef32_pk32_bf6_f16 25b v_cvt_scalef32_pk32_bf6_bf16 \
         25c v_cvt_scalef32_sr_pk32_fp6_f16 25d v_cvt_scalef32_sr_pk32_fp6_bf16 \
         25e v_cvt_scalef32_sr_pk32_bf6_f16 25f v_cvt_scalef32_sr_pk32_bf6_bf16 \
         260 v_cvt_scalef32_pk32_f16_fp6 261 v_cvt_scalef32_pk32_bf16_fp6 \
         262 v_cvt_scalef32_pk32_f16_bf6 263 v_cvt_scalef32_pk32_bf16_bf6 265 v_ashr_pk_i8_i32 \
         266 v_ashr_pk_u8_i32 269 v_cvt_scalef32_pk_bf16_fp8 26a v_cvt_scalef32_pk_bf16_bf8 \
         280 v_add_f64 281 v_mul_f64 282 v_min_f64 283 v_max_f64 284 v_ldexp_f64 \
         292 v_trig_preop_f64 294 v_cvt_pknorm_i16_f32 295 v_cvt_pknorm_u16_f32 \
         299 v_cvt_pknorm_i16_f16 29a v_cvt_pknorm_u16_f16 29e v_add_i16 29f v_sub_i16 \
         2a1 v_mul_legacy_f32 2a2 v_cvt_pk_fp8_f32 2a3 v_cvt_pk_bf8_f32 2a4 v_cvt_sr_fp8_f32 \
         2a5 v_cvt_sr_bf8_f32 2a6 v_cvt_sr_f16_f32 2a7 v_cvt_sr_bf16_f32 2a8 v_minimum3_f32 \
         2a9 v_maximum3_f32 380 v_pk_mad_i16 381 v_pk_mul_lo_u16 382 v_pk_add_i16 \
         383 v_pk_sub_i16 384 v_pk_lshlrev_b16 385 v_pk_lshrrev_b16 386 v_pk_ashrrev_i16 \
         387 v_pk_max_i16 388 v_pk_min_i16 389 v_pk_mad_u16 38a v_pk_add_u16 38b v_pk_sub_u16 \
         38c v_pk_max_u16 38d v_pk_min_u16 38e v_pk_fma_f16 38f v_pk_add_f16 390 v_pk_mul_f16 \
         391 v_pk_min_f16 392 v_pk_max_f16 39a v_dot2_f32_bf16 39b v_pk_minimum3_f16 \
         39c v_pk_maximum3_f16 3a0 v_fma_mix_f32 3a1 v_fma_mixlo_f16 3a2 v_fma_mixhi_f16 \
         3a3 v_dot2_f32_f16 3a6 v_dot2_i32_i16 3a7 v_dot2_u32_u16 3a8 v_dot4_i32_i8 \
         3a9 v_dot4_u32_u8 3aa v_dot8_i32_i4 3ab v_dot8_u32_u4 3ad v_mfma_f32_16x16x128_f8f6f4 \
         3ae v_mfma_f32_32x32x64_f8f6f4 3b0 v_pk_fma_f32 3b1 v_pk_mul_f32 3b2 v_pk_add_f32 \
         3b3 v_pk_mov_b32 3b5 v_mfma_f32_16x16x32_bf16 3b6 v_mfma_i32_16x16x64_i8 \
         3b7 v_mfma_f32_32x32x16_bf16 3b8 v_mfma_i32_32x32x32_i8 3b9 v_smfmac_f32_16x16x64_bf16 \
         3ba v_smfmac_i32_16x16x128_i8 3bb v_smfmac_f32_16x16x128_bf8_bf8 \
         3bc v_smfmac_f32_16x16x128_bf8_fp8 3bd v_smfmac_f32_16x16x128_fp8_bf8 \
         3be v_mfma_f32_16x16x8_xf32 3bf v_mfma_f32_32x32x4_xf32 \
         3c0 v_mfma_f32_32x32x1f32/v_mfma_f32_32x32x1_2b_f32 \
         3c1 v_mfma_f32_16x16x1f32/v_mfma_f32_16x16x1_4b_f32 \
         3c2 v_mfma_f32_4x4x1f32/v_mfma_f32_4x4x1_16b_f32 3c3 v_smfmac_f32_16x16x128_fp8_fp8 \
         3c4 v_mfma_f32_32x32x2f32/v_mfma_f32_32x32x2_f32 \
         3c5 v_mfma_f32_16x16x4f32/v_mfma_f32_16x16x4_f32 3c6 v_smfmac_f32_32x32x32_bf16 \
         3c7 v_smfmac_i32_32x32x64_i8 3c8 v_mfma_f32_32x32x4f16/v_mfma_f32_32x32x4_2b_f16 \
         3c9 v_mfma_f32_16x16x4f16/v_mfma_f32_16x16x4_4b_f16 \
         3ca v_mfma_f32_4x4x4f16/v_mfma_f32_4x4x4_16b_f16 3cb v_smfmac_f32_32x32x64_bf8_bf8 \
         3cc v_mfma_f32_32x32x8f16/v_mfma_f32_32x32x8_f16 \
         3cd v_mfma_f32_16x16x16f16/v_mfma_f32_16x16x16_f16 3ce v_smfmac_f32_32x32x64_bf8_fp8 \
         3cf v_smfmac_f32_32x32x64_fp8_bf8 3d0 v_mfma_i32_32x32x4i8/v_mfma_i32_32x32x4_2b_i8 \
         3d1 v_mfma_i32_16x16x4i8/v_mfma_i32_16x16x4_4b_i8 \
         3d2 v_mfma_i32_4x4x4i8/v_mfma_i32_4x4x4_16b_i8 3d3 v_smfmac_f32_32x32x64_fp8_fp8 \
         3d4 v_mfma_i32_32x32x8i8/v_mfma_f32_16x16x32_f16 \
         3d5 v_mfma_i32_16x16x16i8/v_mfma_f32_32x32x16_f16 3d6 v_mfma_i32_32x32x16_i8 \
         3d7 v_mfma_i32_16x16x32_i8 3d8 v_accvgpr_read_b32 3d9 v_accvgpr_write_b32 \
         3da v_smfmac_f32_16x16x64_f16 3db v_smfmac_f32_32x32x32_f16 \
         3dd v_mfma_f32_32x32x4_2b_bf16 3de v_mfma_f32_16x16x4_4b_bf16 \
         3df v_mfma_f32_4x4x4_16b_bf16 3e0 v_mfma_f32_32x32x8_bf16 3e1 v_mfma_f32_16x16x16_bf16 \
         3e2 v_smfmac_f32_16x16x32_f16 3e3 v_mfma_f32_32x32x4bf16_1k \
         3e4 v_mfma_f32_16x16x4bf16_1k/v_smfmac_f32_32x32x16_f16 3e5 v_mfma_f32_4x4x4bf16_1k \
         3e6 v_mfma_f32_32x32x8bf16_1k/v_smfmac_f32_16x16x32_bf16 \
         3e7 v_mfma_f32_16x16x16bf16_1k 3e8 v_mfma_f32_32x32x2bf16/v_smfmac_f32_32x32x16_bf16 \
         3e9 v_mfma_f32_16x16x2bf16 3ea v_smfmac_i32_16x16x64_i8 3eb v_mfma_f32_4x4x2bf16 \
         3ec v_mfma_f32_32x32x4bf16/v_smfmac_i32_32x32x32_i8 3ed v_mfma_f32_16x16x8bf16 \
         3ee v_mfma_f64_16x16x4f64/v_mfma_f64_16x16x4_f64 \
         3ef v_mfma_f64_4x4x4f64/v_mfma_f64_4x4x4_4b_f64 3f0 v_mfma_f32_16x16x32_bf8_bf8 \
         3f1 v_mfma_f32_16x16x32_bf8_fp8 3f2 v_mfma_f32_16x16x32_fp8_bf8 \
         3f3 v_mfma_f32_16x16x32_fp8_fp8 3f4 v_mfma_f32_32x32x16_bf8_bf8 \
         3f5 v_mfma_f32_32x32x16_bf8_fp8 3f6 v_mfma_f32_32x32x16_fp8_bf8 \
         3f7 v_mfma_f32_32x32x16_fp8_fp8 3f8 v_smfmac_f32_16x16x64_bf8_bf8 \
         3f9 v_smfmac_f32_16x16x64_bf8_fp8 3fa v_smfmac_f32_16x16x64_fp8_bf8 \
         3fb v_smfmac_f32_16x16x64_fp8_fp8 3fc v_smfmac_f32_32x32x32_bf8_bf8 \
         3fd v_smfmac_f32_32x32x32_bf8_fp8 3fe v_smfmac_f32_32x32x32_fp8_bf8 \
         3ff v_smfmac_f32_32x32x32_fp8_fp8",
    ),
    (
        Format::Vop3p,
        "0 v_pk_mad_i16 1a v_dot2_f32_bf16 1b v_pk_minimum3_f16 1c v_pk_maximum3_f16 \
         21 v_fma_mixlo_f16 22 v_fma_mixhi_f16 23 v_dot2_f32_f16 26 v_dot2_i32_i16 \
         27 v_dot2_u32_u16 28 v_dot4_i32_i8 29 v_dot4_u32_u8 2a v_dot8_i32_i4 2b v_dot8_u32_u4 \
         36 v_mfma_i32_16x16x64_i8 38 v_mfma_i32_32x32x32_i8 39 v_smfmac_f32_16x16x64_bf16 \
         3a v_smfmac_i32_16x16x128_i8 3b v_smfmac_f32_16x16x128_bf8_bf8 \
         3c v_smfmac_f32_16x16x128_bf8_fp8 3d v_smfmac_f32_16x16x128_fp8_bf8 \
         3e v_mfma_f32_16x16x8_xf32 3f v_mfma_f32_32x32x4_xf32 43 v_smfmac_f32_16x16x128_fp8_fp8 \
         46 v_smfmac_f32_32x32x32_bf16 47 v_smfmac_i32_32x32x64_i8 \
         4b v_smfmac_f32_32x32x64_bf8_bf8 4e v_smfmac_f32_32x32x64_bf8_fp8 \
         4f v_smfmac_f32_32x32x64_fp8_bf8 50 v_mfma_i32_32x32x4i8/v_mfma_i32_32x32x4_2b_i8 \
         51 v_mfma_i32_16x16x4i8/v_mfma_i32_16x16x4_4b_i8 \
         52 v_mfma_i32_4x4x4i8/v_mfma_i32_4x4x4_16b_i8 53 v_smfmac_f32_32x32x64_fp8_fp8 \
         54 v_mfma_i32_32x32x8i8 55 v_mfma_i32_16x16x16i8 56 v_mfma_i32_32x32x16_i8 \
         57 v_mfma_i32_16x16x32_i8 5a v_smfmac_f32_16x16x64_f16 5b v_smfmac_f32_32x32x32_f16 \
         62 v_smfmac_f32_16x16x32_f16 64 v_smfmac_f32_32x32x16_f16 66 v_smfmac_f32_16x16x32_bf16 \
         68 v_mfma_f32_32x32x2bf16/v_smfmac_f32_32x32x16_bf16 69 v_mfma_f32_16x16x2bf16 \
         6a v_smfmac_i32_16x16x64_i8 6b v_mfma_f32_4x4x2bf16 \
         6c v_mfma_f32_32x32x4bf16/v_smfmac_i32_32x32x32_i8 6d v_mfma_f32_16x16x8bf16 \
         6e v_mfma_f64_16x16x4f64/v_mfma_f64_16x16x4_f64 \
         6f v_mfma_f64_4x4x4f64/v_mfma_f64_4x4x4_4b_f64 70 v_mfma_f32_16x16x32_bf8_bf8 \
         71 v_mfma_f32_16x16x32_bf8_fp8 72 v_mfma_f32_16x16x32_fp8_bf8 \
         73 v_mfma_f32_16x16x32_fp8_fp8 74 v_mfma_f32_32x32x16_bf8_bf8 \
         75 v_mfma_f32_32x32x16_bf8_fp8 76 v_mfma_f32_32x32x16_fp8_bf8 \
         77 v_mfma_f32_32x32x16_fp8_fp8 78 v_smfmac_f32_16x16x64_bf8_bf8 \
         79 v_smfmac_f32_16x16x64_bf8_fp8 7a v_smfmac_f32_16x16x64_fp8_bf8 \
         7b v_smfmac_f32_16x16x64_fp8_fp8 7c v_smfmac_f32_32x32x32_bf8_bf8 \
         7d v_smfmac_f32_32x32x32_bf8_fp8 7e v_smfmac_f32_32x32x32_fp8_bf8 \
         7f v_smfmac_f32_32x32x32_fp8_fp8",
    ),
    (
        Format::Flat,
        "26 global_load_lds_ubyte 27 global_load_lds_sbyte 28 global_load_lds_ushort \
         29 global_load_lds_sshort 4d global_atomic_add_f32 \
         4e global_atomic_pk_add_f16 4f global_atomic_add_f64 50 global_atomic_min_f64 \
         51 global_atomic_max_f64 52 global_atomic_pk_add_bf16 \
         7e global_load_lds_dwordx3",
    ),
    (
        Format::Buffer,
        "0 buffer_load_format_x 1 buffer_load_format_xy 2 buffer_load_format_xyz \
         3 buffer_load_format_xyzw 4 buffer_store_format_x 5 buffer_store_format_xy \
         6 buffer_store_format_xyz 7 buffer_store_format_xyzw 8 buffer_load_format_d16_x \
         9 buffer_load_format_d16_xy a buffer_load_format_d16_xyz b buffer_load_format_d16_xyzw \
         c buffer_store_format_d16_x d buffer_store_format_d16_xy e buffer_store_format_d16_xyz \
         f buffer_store_format_d16_xyzw 26 buffer_load_format_d16_hi_x \
         27 buffer_store_format_d16_hi_x 28 buffer_wbl2 29 buffer_inv 3d buffer_store_lds_dword \
         3e buffer_wbinvl1 3f buffer_wbinvl1_vol 40 buffer_atomic_swap 41 buffer_atomic_cmpswap \
         42 buffer_atomic_add 43 buffer_atomic_sub 44 buffer_atomic_smin 45 buffer_atomic_umin \
         46 buffer_atomic_smax 47 buffer_atomic_umax 48 buffer_atomic_and 49 buffer_atomic_or \
         4a buffer_atomic_xor 4b buffer_atomic_inc 4c buffer_atomic_dec 4d buffer_atomic_add_f32 \
         4e buffer_atomic_pk_add_f16 4f buffer_atomic_add_f64 50 buffer_atomic_min_f64 \
         51 buffer_atomic_max_f64 52 buffer_atomic_pk_add_bf16 60 buffer_atomic_swap_x2 \
         61 buffer_atomic_cmpswap_x2 62 buffer_atomic_add_x2 63 buffer_atomic_sub_x2 \
         64 buffer_atomic_smin_x2 65 buffer_atomic_umin_x2 66 buffer_atomic_smax_x2 \
         67 buffer_atomic_umax_x2 68 buffer_atomic_and_x2 69 buffer_atomic_or_x2 \
         6a buffer_atomic_xor_x2 6b buffer_atomic_inc_x2 6c buffer_atomic_dec_x2",
    ),
    (
        Format::Ds,
        "2c ds_mskor_rtn_b32 2e ds_wrxchg2_rtn_b32 2f ds_wrxchg2st64_rtn_b32 31 ds_cmpst_rtn_f32 \
         34 ds_wrap_rtn_b32 6c ds_mskor_rtn_b64 6e ds_wrxchg2_rtn_b64 6f ds_wrxchg2st64_rtn_b64 \
         70 ds_cmpst_rtn_b64 71 ds_cmpst_rtn_f64",
    ),
];
