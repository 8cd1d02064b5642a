// Integer instructions, three operands at a time.

#define INTEGER(name, expression)                                                              \
    extern "C" __global__ void name(const unsigned *in, unsigned *out) {                       \
        int i = threadIdx.x;                                                                   \
        unsigned a = in[3 * i], b = in[3 * i + 1], c = in[3 * i + 2];                          \
        out[i] = expression;                                                                   \
    }
// One instruction with the operands a, b and c.
#define INSTRUCTION(name, text)                                                                \
    extern "C" __global__ void name(const unsigned *in, unsigned *out) {                       \
        int i = threadIdx.x;                                                                   \
        unsigned d;                                                                            \
        asm volatile(text : "=r"(d) : "r"(in[3 * i]), "r"(in[3 * i + 1]), "r"(in[3 * i + 2])); \
        out[i] = d;                                                                            \
    }

INTEGER(byte_perm, __byte_perm(a, b, c))
INTEGER(funnel_left, __funnelshift_l(a, b, c))
INTEGER(funnel_right_clamped, __funnelshift_rc(a, b, c))
INTEGER(high_signed, __mulhi((int)a, (int)b))
INTEGER(high_unsigned, __umulhi(a, b))
INTEGER(sad_signed, __sad((int)a, (int)b, c))
INTEGER(sad_unsigned, __usad(a, b, c))
INTEGER(dot_signed, __dp4a((int)a, (int)b, (int)c))
INTEGER(dot_unsigned, __dp4a(a, b, c))
INTEGER(reverse, __brev(a))
INTEGER(leading, __clz(a))
INTEGER(ones, __popc(a))
INTEGER(first, __ffs(a))
INTEGER(wide_high, (unsigned)(__umul64hi(((unsigned long long)a << 32) | b, ((unsigned long long)b << 32) | c)))
INTEGER(wide_quotient, (unsigned)((((unsigned long long)a << 32) | b) / (((unsigned long long)(c & 0xffff) << 16) | 7)))
INTEGER(signed_remainder, (unsigned)((int)a % ((int)b | 1)))
INTEGER(shifted, (a << (b & 63)) + (unsigned)((int)c >> (b & 63)))
INSTRUCTION(mul24_low, "mul24.lo.s32 %0, %1, %2;")
INSTRUCTION(mul24_high, "mul24.hi.u32 %0, %1, %2;")
INSTRUCTION(extract_signed, "bfe.s32 %0, %1, %2, %3;")
INSTRUCTION(extract_unsigned, "bfe.u32 %0, %1, %2, %3;")
INSTRUCTION(insert, "bfi.b32 %0, %1, %2, %3, 9;")
INSTRUCTION(find_signed, "bfind.s32 %0, %1;")
INSTRUCTION(find_shift, "bfind.shiftamt.u32 %0, %1;")
INSTRUCTION(logic, "lop3.b32 %0, %1, %2, %3, 0xd2;")
INSTRUCTION(permute_forward, "prmt.b32.f4e %0, %1, %2, %3;")
INSTRUCTION(permute_backward, "prmt.b32.b4e %0, %1, %2, %3;")
INSTRUCTION(permute_left, "prmt.b32.ecl %0, %1, %2, %3;")
INSTRUCTION(permute_halves, "prmt.b32.rc16 %0, %1, %2, %3;")
INSTRUCTION(permute_signed, "prmt.b32 %0, %1, %2, %3;")
INSTRUCTION(shift_right_clamped, "shr.s32 %0, %1, %2;")
INSTRUCTION(shift_left_clamped, "shl.b32 %0, %1, %2;")
INSTRUCTION(add_saturated, "add.sat.s32 %0, %1, %2;")
INSTRUCTION(sign_extend, "szext.wrap.s32 %0, %1, %2;")
INSTRUCTION(zero_extend, "szext.clamp.u32 %0, %1, %2;")
INSTRUCTION(mask_wrapped, "bmsk.wrap.b32 %0, %1, %2;")
INSTRUCTION(mask, "bmsk.clamp.b32 %0, %1, %2;")
INSTRUCTION(carry, "{ .reg .b32 t; add.cc.u32 t, %1, %2; addc.u32 %0, %3, 0; }")
INSTRUCTION(borrow, "{ .reg .b32 t; sub.cc.u32 t, %1, %2; subc.u32 %0, %3, 0; }")
INSTRUCTION(multiply_carry, "{ .reg .b32 t; mad.lo.cc.u32 t, %1, %2, %3; madc.hi.u32 %0, %1, %2, 0; }")
