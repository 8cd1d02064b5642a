//! The instructions that are modelled, by format: number, name, operands, where they exist.
//!
//! Sources: AMD, "CDNA3 Instruction Set Architecture", chapters 12 and 13, and "CDNA2 Instruction Set
//! Architecture"; each row is compared with LLVM's disassembler by a test. The operands are sizes in
//! dwords, the result's first: `"212"` takes one dword and two into two. `0` is no result, `g` 16, `w` 32.

/// The architectures that a row is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    All,
    Gfx90a,
    /// gfx940 and what follows.
    Gfx940,
    Gfx950,
}

/// One instruction of a format.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) code: u16,
    pub(super) opcode: Opcode,
    pub(super) shape: &'static str,
    pub(super) place: Where,
}

use Where::{All as ALL, Gfx90a as GFX90A, Gfx940 as GFX940, Gfx950 as GFX950};

macro_rules! opcodes {
    ($($table:ident { $($code:literal $name:ident $shape:literal $place:ident;)* })*) => {
        /// An instruction by its name in the ISA.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(super) enum Opcode {
            /// A comparison of vectors: its kind is in its number.
            v_cmp,
            /// Not modelled.
            unknown,
            $($($name,)*)*
        }

        $(pub(super) static $table: &[Row] = &[
            $(Row { code: $code, opcode: Opcode::$name, shape: $shape, place: $place },)*
        ];)*
    };
}

#[rustfmt::skip]
opcodes! {
    SOP2 {
        0x0 s_add_u32 "111" ALL; 0x1 s_sub_u32 "111" ALL; 0x2 s_add_i32 "111" ALL;
        0x3 s_sub_i32 "111" ALL; 0x4 s_addc_u32 "111" ALL; 0x5 s_subb_u32 "111" ALL;
        0x6 s_min_i32 "111" ALL; 0x7 s_min_u32 "111" ALL; 0x8 s_max_i32 "111" ALL;
        0x9 s_max_u32 "111" ALL; 0xa s_cselect_b32 "111" ALL; 0xb s_cselect_b64 "222" ALL;
        0xc s_and_b32 "111" ALL; 0xd s_and_b64 "222" ALL; 0xe s_or_b32 "111" ALL;
        0xf s_or_b64 "222" ALL; 0x10 s_xor_b32 "111" ALL; 0x11 s_xor_b64 "222" ALL;
        0x12 s_andn2_b32 "111" ALL; 0x13 s_andn2_b64 "222" ALL; 0x14 s_orn2_b32 "111" ALL;
        0x15 s_orn2_b64 "222" ALL; 0x16 s_nand_b32 "111" ALL; 0x17 s_nand_b64 "222" ALL;
        0x18 s_nor_b32 "111" ALL; 0x19 s_nor_b64 "222" ALL; 0x1a s_xnor_b32 "111" ALL;
        0x1b s_xnor_b64 "222" ALL; 0x1c s_lshl_b32 "111" ALL; 0x1d s_lshl_b64 "221" ALL;
        0x1e s_lshr_b32 "111" ALL; 0x1f s_lshr_b64 "221" ALL; 0x20 s_ashr_i32 "111" ALL;
        0x21 s_ashr_i64 "221" ALL; 0x22 s_bfm_b32 "111" ALL; 0x23 s_bfm_b64 "211" ALL;
        0x24 s_mul_i32 "111" ALL; 0x25 s_bfe_u32 "111" ALL; 0x26 s_bfe_i32 "111" ALL;
        0x27 s_bfe_u64 "221" ALL; 0x28 s_bfe_i64 "221" ALL; 0x2a s_absdiff_i32 "111" ALL;
        0x2c s_mul_hi_u32 "111" ALL; 0x2d s_mul_hi_i32 "111" ALL; 0x2e s_lshl1_add_u32 "111" ALL;
        0x2f s_lshl2_add_u32 "111" ALL; 0x30 s_lshl3_add_u32 "111" ALL;
        0x31 s_lshl4_add_u32 "111" ALL; 0x32 s_pack_ll_b32_b16 "111" ALL;
        0x33 s_pack_lh_b32_b16 "111" ALL; 0x34 s_pack_hh_b32_b16 "111" ALL;
    }
    SOPK {
        0x0 s_movk_i32 "1" ALL; 0x1 s_cmovk_i32 "1" ALL; 0x2 s_cmpk_eq_i32 "1" ALL;
        0x3 s_cmpk_lg_i32 "1" ALL; 0x4 s_cmpk_gt_i32 "1" ALL; 0x5 s_cmpk_ge_i32 "1" ALL;
        0x6 s_cmpk_lt_i32 "1" ALL; 0x7 s_cmpk_le_i32 "1" ALL; 0x8 s_cmpk_eq_u32 "1" ALL;
        0x9 s_cmpk_lg_u32 "1" ALL; 0xa s_cmpk_gt_u32 "1" ALL; 0xb s_cmpk_ge_u32 "1" ALL;
        0xc s_cmpk_lt_u32 "1" ALL; 0xd s_cmpk_le_u32 "1" ALL; 0xe s_addk_i32 "1" ALL;
        0xf s_mulk_i32 "1" ALL;
    }
    SOP1 {
        0x0 s_mov_b32 "11" ALL; 0x1 s_mov_b64 "22" ALL; 0x2 s_cmov_b32 "11" ALL;
        0x3 s_cmov_b64 "22" ALL; 0x4 s_not_b32 "11" ALL; 0x5 s_not_b64 "22" ALL;
        0x8 s_brev_b32 "11" ALL; 0x9 s_brev_b64 "22" ALL; 0xa s_bcnt0_i32_b32 "11" ALL;
        0xb s_bcnt0_i32_b64 "12" ALL; 0xc s_bcnt1_i32_b32 "11" ALL; 0xd s_bcnt1_i32_b64 "12" ALL;
        0xe s_ff0_i32_b32 "11" ALL; 0xf s_ff0_i32_b64 "12" ALL; 0x10 s_ff1_i32_b32 "11" ALL;
        0x11 s_ff1_i32_b64 "12" ALL; 0x12 s_flbit_i32_b32 "11" ALL; 0x13 s_flbit_i32_b64 "12" ALL;
        0x14 s_flbit_i32 "11" ALL; 0x15 s_flbit_i32_i64 "12" ALL; 0x16 s_sext_i32_i8 "11" ALL;
        0x17 s_sext_i32_i16 "11" ALL; 0x18 s_bitset0_b32 "11" ALL; 0x19 s_bitset0_b64 "21" ALL;
        0x1a s_bitset1_b32 "11" ALL; 0x1b s_bitset1_b64 "21" ALL;
        0x20 s_and_saveexec_b64 "22" ALL; 0x21 s_or_saveexec_b64 "22" ALL;
        0x22 s_xor_saveexec_b64 "22" ALL; 0x23 s_andn2_saveexec_b64 "22" ALL;
        0x24 s_orn2_saveexec_b64 "22" ALL; 0x25 s_nand_saveexec_b64 "22" ALL;
        0x26 s_nor_saveexec_b64 "22" ALL; 0x27 s_xnor_saveexec_b64 "22" ALL;
        0x30 s_abs_i32 "11" ALL; 0x33 s_andn1_saveexec_b64 "22" ALL;
        0x34 s_orn1_saveexec_b64 "22" ALL; 0x35 s_andn1_wrexec_b64 "22" ALL;
        0x36 s_andn2_wrexec_b64 "22" ALL; 0x37 s_bitreplicate_b64_b32 "21" ALL;
    }
    SOPC {
        0x0 s_cmp_eq_i32 "011" ALL; 0x1 s_cmp_lg_i32 "011" ALL; 0x2 s_cmp_gt_i32 "011" ALL;
        0x3 s_cmp_ge_i32 "011" ALL; 0x4 s_cmp_lt_i32 "011" ALL; 0x5 s_cmp_le_i32 "011" ALL;
        0x6 s_cmp_eq_u32 "011" ALL; 0x7 s_cmp_lg_u32 "011" ALL; 0x8 s_cmp_gt_u32 "011" ALL;
        0x9 s_cmp_ge_u32 "011" ALL; 0xa s_cmp_lt_u32 "011" ALL; 0xb s_cmp_le_u32 "011" ALL;
        0xc s_bitcmp0_b32 "011" ALL; 0xd s_bitcmp1_b32 "011" ALL; 0xe s_bitcmp0_b64 "021" ALL;
        0xf s_bitcmp1_b64 "021" ALL; 0x12 s_cmp_eq_u64 "022" ALL; 0x13 s_cmp_lg_u64 "022" ALL;
    }
    SOPP {
        0x0 s_nop "0" ALL; 0x1 s_endpgm "0" ALL; 0x2 s_branch "0" ALL; 0x4 s_cbranch_scc0 "0" ALL;
        0x5 s_cbranch_scc1 "0" ALL; 0x6 s_cbranch_vccz "0" ALL; 0x7 s_cbranch_vccnz "0" ALL;
        0x8 s_cbranch_execz "0" ALL; 0x9 s_cbranch_execnz "0" ALL; 0xa s_barrier "0" ALL;
        0xc s_waitcnt "0" ALL; 0xe s_sleep "0" ALL; 0xf s_setprio "0" ALL; 0x12 s_trap "0" ALL;
    }
    SMEM {
        0x0 s_load_dword "1" ALL; 0x1 s_load_dwordx2 "2" ALL; 0x2 s_load_dwordx4 "4" ALL;
        0x3 s_load_dwordx8 "8" ALL; 0x4 s_load_dwordx16 "g" ALL;
    }
    VOP1 {
        0x1 v_mov_b32 "11" ALL; 0x2 v_readfirstlane_b32 "11" ALL; 0x5 v_cvt_f32_i32 "11" ALL;
        0x6 v_cvt_f32_u32 "11" ALL; 0x7 v_cvt_u32_f32 "11" ALL; 0x8 v_cvt_i32_f32 "11" ALL;
        0xa v_cvt_f16_f32 "11" ALL; 0xb v_cvt_f32_f16 "11" ALL; 0xc v_cvt_rpi_i32_f32 "11" ALL;
        0xd v_cvt_flr_i32_f32 "11" ALL; 0x11 v_cvt_f32_ubyte0 "11" ALL;
        0x12 v_cvt_f32_ubyte1 "11" ALL; 0x13 v_cvt_f32_ubyte2 "11" ALL;
        0x14 v_cvt_f32_ubyte3 "11" ALL; 0x1b v_fract_f32 "11" ALL; 0x1c v_trunc_f32 "11" ALL;
        0x1d v_ceil_f32 "11" ALL; 0x1e v_rndne_f32 "11" ALL; 0x1f v_floor_f32 "11" ALL;
        0x20 v_exp_f32 "11" ALL; 0x21 v_log_f32 "11" ALL; 0x22 v_rcp_f32 "11" ALL;
        0x23 v_rcp_iflag_f32 "11" ALL; 0x24 v_rsq_f32 "11" ALL; 0x27 v_sqrt_f32 "11" ALL;
        0x29 v_sin_f32 "11" ALL; 0x2a v_cos_f32 "11" ALL; 0x2b v_not_b32 "11" ALL;
        0x2c v_bfrev_b32 "11" ALL; 0x2d v_ffbh_u32 "11" ALL; 0x2e v_ffbl_b32 "11" ALL;
        0x2f v_ffbh_i32 "11" ALL; 0x33 v_frexp_exp_i32_f32 "11" ALL;
        0x34 v_frexp_mant_f32 "11" ALL; 0x38 v_mov_b64 "22" GFX940; 0x39 v_cvt_f16_u16 "11" ALL;
        0x3a v_cvt_f16_i16 "11" ALL; 0x3b v_cvt_u16_f16 "11" ALL; 0x3c v_cvt_i16_f16 "11" ALL;
        0x44 v_floor_f16 "11" ALL; 0x45 v_ceil_f16 "11" ALL; 0x46 v_trunc_f16 "11" ALL;
        0x47 v_rndne_f16 "11" ALL; 0x48 v_fract_f16 "11" ALL; 0x51 v_swap_b32 "11" ALL;
        0x52 v_accvgpr_mov_b32 "11" ALL; 0x5b v_cvt_f32_bf16 "11" GFX950;
    }
    VOP2 {
        0x0 v_cndmask_b32 "111" ALL; 0x1 v_add_f32 "111" ALL; 0x2 v_sub_f32 "111" ALL;
        0x3 v_subrev_f32 "111" ALL; 0x5 v_mul_f32 "111" ALL; 0x6 v_mul_i32_i24 "111" ALL;
        0x7 v_mul_hi_i32_i24 "111" ALL; 0x8 v_mul_u32_u24 "111" ALL;
        0x9 v_mul_hi_u32_u24 "111" ALL; 0xa v_min_f32 "111" ALL; 0xb v_max_f32 "111" ALL;
        0xc v_min_i32 "111" ALL; 0xd v_max_i32 "111" ALL; 0xe v_min_u32 "111" ALL;
        0xf v_max_u32 "111" ALL; 0x10 v_lshrrev_b32 "111" ALL; 0x11 v_ashrrev_i32 "111" ALL;
        0x12 v_lshlrev_b32 "111" ALL; 0x13 v_and_b32 "111" ALL; 0x14 v_or_b32 "111" ALL;
        0x15 v_xor_b32 "111" ALL; 0x16 v_mac_f32 "111" GFX90A; 0x17 v_madmk_f32 "111" GFX90A;
        0x17 v_fmamk_f32 "111" GFX940; 0x18 v_madak_f32 "111" GFX90A;
        0x18 v_fmaak_f32 "111" GFX940; 0x19 v_add_co_u32 "111" ALL; 0x1a v_sub_co_u32 "111" ALL;
        0x1b v_subrev_co_u32 "111" ALL; 0x1c v_addc_co_u32 "111" ALL;
        0x1d v_subb_co_u32 "111" ALL; 0x1e v_subbrev_co_u32 "111" ALL; 0x1f v_add_f16 "111" ALL;
        0x20 v_sub_f16 "111" ALL; 0x21 v_subrev_f16 "111" ALL; 0x22 v_mul_f16 "111" ALL;
        0x26 v_add_u16 "111" ALL; 0x27 v_sub_u16 "111" ALL; 0x28 v_subrev_u16 "111" ALL;
        0x29 v_mul_lo_u16 "111" ALL; 0x2a v_lshlrev_b16 "111" ALL; 0x2b v_lshrrev_b16 "111" ALL;
        0x2c v_ashrrev_i16 "111" ALL; 0x2d v_max_f16 "111" ALL; 0x2e v_min_f16 "111" ALL;
        0x2f v_max_u16 "111" ALL; 0x30 v_max_i16 "111" ALL; 0x31 v_min_u16 "111" ALL;
        0x32 v_min_i16 "111" ALL; 0x34 v_add_u32 "111" ALL; 0x35 v_sub_u32 "111" ALL;
        0x36 v_subrev_u32 "111" ALL; 0x3b v_fmac_f32 "111" ALL; 0x3d v_xnor_b32 "111" ALL;
    }
    VOP3 {
        0x1c1 v_mad_f32 "1111" GFX90A; 0x1c2 v_mad_i32_i24 "1111" ALL;
        0x1c3 v_mad_u32_u24 "1111" ALL; 0x1c8 v_bfe_u32 "1111" ALL; 0x1c9 v_bfe_i32 "1111" ALL;
        0x1ca v_bfi_b32 "1111" ALL; 0x1cb v_fma_f32 "1111" ALL; 0x1ce v_alignbit_b32 "1111" ALL;
        0x1cf v_alignbyte_b32 "1111" ALL; 0x1d0 v_min3_f32 "1111" ALL;
        0x1d1 v_min3_i32 "1111" ALL; 0x1d2 v_min3_u32 "1111" ALL; 0x1d3 v_max3_f32 "1111" ALL;
        0x1d4 v_max3_i32 "1111" ALL; 0x1d5 v_max3_u32 "1111" ALL; 0x1d6 v_med3_f32 "1111" ALL;
        0x1d7 v_med3_i32 "1111" ALL; 0x1d8 v_med3_u32 "1111" ALL;
        0x1de v_div_fixup_f32 "1111" ALL; 0x1e0 v_div_scale_f32 "1111" ALL;
        0x1e2 v_div_fmas_f32 "1111" ALL; 0x1e8 v_mad_u64_u32 "2112" ALL;
        0x1e9 v_mad_i64_i32 "2112" ALL; 0x1ed v_perm_b32 "1111" ALL; 0x1f3 v_xad_u32 "1111" ALL;
        0x1fd v_lshl_add_u32 "1111" ALL; 0x1fe v_add_lshl_u32 "1111" ALL;
        0x1ff v_add3_u32 "1111" ALL; 0x200 v_lshl_or_b32 "1111" ALL;
        0x201 v_and_or_b32 "1111" ALL; 0x202 v_or3_b32 "1111" ALL; 0x206 v_fma_f16 "1111" ALL;
        0x208 v_lshl_add_u64 "2212" GFX940; 0x234 v_bitop3_b32 "1111" GFX950; 0x267 v_cvt_pk_f16_f32 "111" GFX950;
        0x268 v_cvt_pk_bf16_f32 "111" GFX950; 0x285 v_mul_lo_u32 "111" ALL;
        0x286 v_mul_hi_u32 "111" ALL; 0x287 v_mul_hi_i32 "111" ALL; 0x288 v_ldexp_f32 "111" ALL;
        0x289 v_readlane_b32 "111" ALL; 0x28a v_writelane_b32 "111" ALL;
        0x28b v_bcnt_u32_b32 "111" ALL; 0x28c v_mbcnt_lo_u32_b32 "111" ALL;
        0x28d v_mbcnt_hi_u32_b32 "111" ALL; 0x28f v_lshlrev_b64 "212" ALL;
        0x290 v_lshrrev_b64 "212" ALL; 0x291 v_ashrrev_i64 "212" ALL; 0x293 v_bfm_b32 "111" ALL;
        0x296 v_cvt_pkrtz_f16_f32 "111" ALL; 0x297 v_cvt_pk_u16_u32 "111" ALL;
        0x298 v_cvt_pk_i16_i32 "111" ALL; 0x29c v_add_i32 "111" ALL; 0x29d v_sub_i32 "111" ALL;
        0x2a0 v_pack_b32_f16 "111" ALL;
    }
    VOP3P {
        0x1 v_pk_mul_lo_u16 "111" ALL; 0x2 v_pk_add_i16 "111" ALL; 0x3 v_pk_sub_i16 "111" ALL;
        0x4 v_pk_lshlrev_b16 "111" ALL; 0x5 v_pk_lshrrev_b16 "111" ALL;
        0x6 v_pk_ashrrev_i16 "111" ALL; 0x7 v_pk_max_i16 "111" ALL; 0x8 v_pk_min_i16 "111" ALL;
        0x9 v_pk_mad_u16 "1111" ALL; 0xa v_pk_add_u16 "111" ALL; 0xb v_pk_sub_u16 "111" ALL;
        0xc v_pk_max_u16 "111" ALL; 0xd v_pk_min_u16 "111" ALL; 0xe v_pk_fma_f16 "1111" ALL;
        0xf v_pk_add_f16 "111" ALL; 0x10 v_pk_mul_f16 "111" ALL; 0x11 v_pk_min_f16 "111" ALL;
        0x12 v_pk_max_f16 "111" ALL; 0x20 v_fma_mix_f32 "1111" ALL;
       
        0x30 v_pk_fma_f32 "2222" ALL; 0x31 v_pk_mul_f32 "222" ALL; 0x32 v_pk_add_f32 "222" ALL;
        0x33 v_pk_mov_b32 "222" ALL;
        0x58 v_accvgpr_read_b32 "11" ALL; 0x59 v_accvgpr_write_b32 "11" ALL;
        0x35 v_mfma_f32_16x16x32_bf16 "4444" GFX950;
        0x37 v_mfma_f32_32x32x16_bf16 "g44g" GFX950;
        0x40 v_mfma_f32_32x32x1f32 "w11w" GFX90A;
        0x40 v_mfma_f32_32x32x1_2b_f32 "w11w" GFX940;
        0x41 v_mfma_f32_16x16x1f32 "g11g" GFX90A;
        0x41 v_mfma_f32_16x16x1_4b_f32 "g11g" GFX940;
        0x42 v_mfma_f32_4x4x1f32 "4114" GFX90A;
        0x42 v_mfma_f32_4x4x1_16b_f32 "4114" GFX940;
        0x44 v_mfma_f32_32x32x2f32 "g11g" GFX90A;
        0x44 v_mfma_f32_32x32x2_f32 "g11g" GFX940;
        0x45 v_mfma_f32_16x16x4f32 "4114" GFX90A;
        0x45 v_mfma_f32_16x16x4_f32 "4114" GFX940;
        0x48 v_mfma_f32_32x32x4f16 "w22w" GFX90A;
        0x48 v_mfma_f32_32x32x4_2b_f16 "w22w" GFX940;
        0x49 v_mfma_f32_16x16x4f16 "g22g" GFX90A;
        0x49 v_mfma_f32_16x16x4_4b_f16 "g22g" GFX940;
        0x4a v_mfma_f32_4x4x4f16 "4224" GFX90A;
        0x4a v_mfma_f32_4x4x4_16b_f16 "4224" GFX940;
        0x4c v_mfma_f32_32x32x8f16 "g22g" GFX90A;
        0x4c v_mfma_f32_32x32x8_f16 "g22g" GFX940;
        0x4d v_mfma_f32_16x16x16f16 "4224" GFX90A;
        0x4d v_mfma_f32_16x16x16_f16 "4224" GFX940;
        0x54 v_mfma_f32_16x16x32_f16 "4444" GFX950;
        0x55 v_mfma_f32_32x32x16_f16 "g44g" GFX950;
        0x5d v_mfma_f32_32x32x4_2b_bf16 "w22w" GFX940;
        0x5e v_mfma_f32_16x16x4_4b_bf16 "g22g" GFX940;
        0x5f v_mfma_f32_4x4x4_16b_bf16 "4224" GFX940;
        0x60 v_mfma_f32_32x32x8_bf16 "g22g" GFX940;
        0x61 v_mfma_f32_16x16x16_bf16 "4224" GFX940;
        0x63 v_mfma_f32_32x32x4bf16_1k "w22w" GFX90A;
        0x64 v_mfma_f32_16x16x4bf16_1k "g22g" GFX90A;
        0x65 v_mfma_f32_4x4x4bf16_1k "4224" GFX90A;
        0x66 v_mfma_f32_32x32x8bf16_1k "g22g" GFX90A;
        0x67 v_mfma_f32_16x16x16bf16_1k "4224" GFX90A;
    }
    DS {
        0x0 ds_add_u32 "1" ALL; 0x1 ds_sub_u32 "1" ALL; 0x3 ds_inc_u32 "1" ALL;
        0x4 ds_dec_u32 "1" ALL; 0x5 ds_min_i32 "1" ALL; 0x6 ds_max_i32 "1" ALL;
        0x7 ds_min_u32 "1" ALL; 0x8 ds_max_u32 "1" ALL; 0x9 ds_and_b32 "1" ALL;
        0xa ds_or_b32 "1" ALL; 0xb ds_xor_b32 "1" ALL; 0xd ds_write_b32 "1" ALL;
        0xe ds_write2_b32 "1" ALL; 0xf ds_write2st64_b32 "1" ALL; 0x10 ds_cmpst_b32 "1" ALL;
        0x1e ds_write_b8 "1" ALL; 0x1f ds_write_b16 "1" ALL; 0x20 ds_add_rtn_u32 "1" ALL;
        0x21 ds_sub_rtn_u32 "1" ALL; 0x23 ds_inc_rtn_u32 "1" ALL; 0x24 ds_dec_rtn_u32 "1" ALL;
        0x25 ds_min_rtn_i32 "1" ALL; 0x26 ds_max_rtn_i32 "1" ALL; 0x27 ds_min_rtn_u32 "1" ALL;
        0x28 ds_max_rtn_u32 "1" ALL; 0x29 ds_and_rtn_b32 "1" ALL; 0x2a ds_or_rtn_b32 "1" ALL;
        0x2b ds_xor_rtn_b32 "1" ALL; 0x2d ds_wrxchg_rtn_b32 "1" ALL;
        0x30 ds_cmpst_rtn_b32 "1" ALL; 0x36 ds_read_b32 "1" ALL; 0x37 ds_read2_b32 "1" ALL;
        0x38 ds_read2st64_b32 "1" ALL; 0x39 ds_read_i8 "1" ALL; 0x3a ds_read_u8 "1" ALL;
        0x3b ds_read_i16 "1" ALL; 0x3c ds_read_u16 "1" ALL; 0x3d ds_swizzle_b32 "1" ALL;
        0x3e ds_permute_b32 "1" ALL; 0x3f ds_bpermute_b32 "1" ALL; 0x4d ds_write_b64 "2" ALL;
        0x4e ds_write2_b64 "2" ALL; 0x4f ds_write2st64_b64 "2" ALL;
        0x54 ds_write_b8_d16_hi "1" ALL; 0x55 ds_write_b16_d16_hi "1" ALL;
        0x56 ds_read_u8_d16 "1" ALL; 0x57 ds_read_u8_d16_hi "1" ALL; 0x58 ds_read_i8_d16 "1" ALL;
        0x59 ds_read_i8_d16_hi "1" ALL; 0x5a ds_read_u16_d16 "1" ALL;
        0x5b ds_read_u16_d16_hi "1" ALL; 0x76 ds_read_b64 "2" ALL; 0x77 ds_read2_b64 "2" ALL;
        0x78 ds_read2st64_b64 "2" ALL; 0xde ds_write_b96 "3" ALL; 0xdf ds_write_b128 "4" ALL;
        0xe3 ds_read_b64_tr_b16 "2" GFX950; 0xfe ds_read_b96 "3" ALL; 0xff ds_read_b128 "4" ALL;
    }
    GLOBAL {
        0x10 global_load_ubyte "1" ALL; 0x11 global_load_sbyte "1" ALL;
        0x12 global_load_ushort "1" ALL; 0x13 global_load_sshort "1" ALL;
        0x14 global_load_dword "1" ALL; 0x15 global_load_dwordx2 "2" ALL;
        0x16 global_load_dwordx3 "3" ALL; 0x17 global_load_dwordx4 "4" ALL;
        0x18 global_store_byte "1" ALL; 0x19 global_store_byte_d16_hi "1" ALL;
        0x1a global_store_short "1" ALL; 0x1b global_store_short_d16_hi "1" ALL;
        0x1c global_store_dword "1" ALL; 0x1d global_store_dwordx2 "2" ALL;
        0x1e global_store_dwordx3 "3" ALL; 0x1f global_store_dwordx4 "4" ALL;
        0x20 global_load_ubyte_d16 "1" ALL; 0x21 global_load_ubyte_d16_hi "1" ALL;
        0x22 global_load_sbyte_d16 "1" ALL; 0x23 global_load_sbyte_d16_hi "1" ALL;
        0x24 global_load_short_d16 "1" ALL; 0x25 global_load_short_d16_hi "1" ALL;
        0x2a global_load_lds_dword "1" GFX940; 0x7d global_load_lds_dwordx4 "4" GFX950;
        0x40 global_atomic_swap "1" ALL; 0x41 global_atomic_cmpswap "2" ALL;
        0x42 global_atomic_add "1" ALL; 0x43 global_atomic_sub "1" ALL;
        0x44 global_atomic_smin "1" ALL; 0x45 global_atomic_umin "1" ALL;
        0x46 global_atomic_smax "1" ALL; 0x47 global_atomic_umax "1" ALL;
        0x48 global_atomic_and "1" ALL; 0x49 global_atomic_or "1" ALL;
        0x4a global_atomic_xor "1" ALL; 0x4b global_atomic_inc "1" ALL;
        0x4c global_atomic_dec "1" ALL; 0x60 global_atomic_swap_x2 "2" ALL;
        0x61 global_atomic_cmpswap_x2 "4" ALL; 0x62 global_atomic_add_x2 "2" ALL;
        0x63 global_atomic_sub_x2 "2" ALL; 0x64 global_atomic_smin_x2 "2" ALL;
        0x65 global_atomic_umin_x2 "2" ALL; 0x66 global_atomic_smax_x2 "2" ALL;
        0x67 global_atomic_umax_x2 "2" ALL; 0x68 global_atomic_and_x2 "2" ALL;
        0x69 global_atomic_or_x2 "2" ALL; 0x6a global_atomic_xor_x2 "2" ALL;
        0x6b global_atomic_inc_x2 "2" ALL; 0x6c global_atomic_dec_x2 "2" ALL;
    }
    BUFFER {
        0x10 buffer_load_ubyte "1" ALL; 0x11 buffer_load_sbyte "1" ALL;
        0x12 buffer_load_ushort "1" ALL; 0x13 buffer_load_sshort "1" ALL;
        0x14 buffer_load_dword "1" ALL; 0x15 buffer_load_dwordx2 "2" ALL;
        0x16 buffer_load_dwordx3 "3" ALL; 0x17 buffer_load_dwordx4 "4" ALL;
        0x18 buffer_store_byte "1" ALL; 0x19 buffer_store_byte_d16_hi "1" ALL;
        0x1a buffer_store_short "1" ALL; 0x1b buffer_store_short_d16_hi "1" ALL;
        0x1c buffer_store_dword "1" ALL; 0x1d buffer_store_dwordx2 "2" ALL;
        0x1e buffer_store_dwordx3 "3" ALL; 0x1f buffer_store_dwordx4 "4" ALL;
        0x20 buffer_load_ubyte_d16 "1" ALL; 0x21 buffer_load_ubyte_d16_hi "1" ALL;
        0x22 buffer_load_sbyte_d16 "1" ALL; 0x23 buffer_load_sbyte_d16_hi "1" ALL;
        0x24 buffer_load_short_d16 "1" ALL; 0x25 buffer_load_short_d16_hi "1" ALL;
    }
}
