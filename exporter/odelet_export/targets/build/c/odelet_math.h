/* Functions of float that compilers turn into vector code, and the larger and the smaller of two numbers as ONNX
   defines them. Each is within 3 units in the last place over the whole range, and NaN stays NaN. All of that holds
   under -fassociative-math, too. */
static inline float odelet_fmaxf(float a, float b) { return a > b || a != a ? a : b; }
static inline float odelet_fminf(float a, float b) { return a < b || a != a ? a : b; }
static inline double odelet_fmax(double a, double b) { return a > b || a != a ? a : b; }
static inline double odelet_fmin(double a, double b) { return a < b || a != a ? a : b; }

/* e to the x as 2^power e^r with |r| at most ln(2) / 2; the constants are those of Cephes. */
static inline float odelet_expf(float x) {
    union { float real; int32_t bits; } first, result, factor;
    float bounded = x < -105.0f ? -105.0f : x, r, p;
    int32_t power, beyond;
    bounded = bounded > 89.0f ? 89.0f : bounded;
    bounded = bounded == bounded ? bounded : 0.0f;
    r = bounded * 1.44269504f;
    power = (int32_t)(r < 0.0f ? r - 0.5f : r + 0.5f);
    /* ln(2) in two parts. The last bit of the first difference is 0 in nearly all cases; clearing it keeps a compiler
       from adding the two parts. */
    first.real = bounded - (float)power * 0.693359375f;
    first.bits &= ~(int32_t)1;
    r = power == 0 ? bounded : first.real + (float)power * 2.12194440e-4f;
    p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    result.real = p * r * r + r + 1.0f;
    /* Where the result is below the normal numbers, the factor takes it there. */
    beyond = power < -100 ? -64 : 0;
    result.bits += (power - beyond) * 8388608;
    factor.bits = (127 + beyond) * 8388608;
    r = result.real * factor.real;
    r = x > 88.722839f ? INFINITY : r;
    return x == x ? r : x;
}

#ifdef ODELET_FAST_TANH
/* A rational function, within 16 units in the last place and three times as fast as the other; ONNX Runtime has it, too.
   The errors of its roundings and of its fit cannot add up to more than 16 units; the largest error over all numbers of
   float was 6.7. Beyond the bounds the result is that at the bounds. */
static inline float odelet_tanhf(float x) {
    float a = x < -7.90531111f ? -7.90531111f : x, z, p, q;
    a = a > 7.90531111f ? 7.90531111f : a;
    z = a * a;
    p = -2.76076847742355e-16f;
    p = p * z + 2.00018790482477e-13f;
    p = p * z - 8.60467152213735e-11f;
    p = p * z + 5.12229709037114e-08f;
    p = p * z + 1.48572235717979e-05f;
    p = p * z + 6.37261928875436e-04f;
    p = p * z + 4.89352455891786e-03f;
    q = 1.19825839466702e-06f;
    q = q * z + 1.18534705686654e-04f;
    q = q * z + 2.26843463243900e-03f;
    q = q * z + 4.89352518554385e-03f;
    /* The quotient comes first: the product would be too small for the smallest a. */
    return a * (p / q);
}
#else
static inline float odelet_tanhf(float x) {
    float a = x < 0.0f ? -x : x, z = x * x, small = -5.70498872745e-3f, large;
    small = small * z + 2.06390887954e-2f;
    small = small * z - 5.37397155531e-2f;
    small = small * z + 1.33314422036e-1f;
    small = small * z - 3.33332819422e-1f;
    small = x + x * z * small;
    large = 1.0f - 2.0f / (odelet_expf(2.0f * a) + 1.0f);
    large = x < 0.0f ? -large : large;
    return a < 0.625f ? small : large;
}
#endif

static inline float odelet_sigmoidf(float x) {
    float e = odelet_expf(x < 0.0f ? x : -x);
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* The larger of x and 0, plus log(1 + e) with e from 0 to 1, which is 2 atanh(s) with s = e / (2 + e). */
static inline float odelet_softplusf(float x) {
    float e = odelet_expf(x < 0.0f ? x : -x), s = e / (2.0f + e), z = s * s, p = 1.0f / 13.0f;
    p = p * z + 1.0f / 11.0f;
    p = p * z + 1.0f / 9.0f;
    p = p * z + 1.0f / 7.0f;
    p = p * z + 1.0f / 5.0f;
    p = p * z + 1.0f / 3.0f;
    return (x < 0.0f ? 0.0f : x) + 2.0f * (s + s * z * p);
}
