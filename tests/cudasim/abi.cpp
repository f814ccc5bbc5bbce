/* Holds what src/cuda/ declares of the vendors' libraries against their headers, where the machine has them: every value,
 * the size of every structure, and of every function the number of parameters and of each its kind and size. Compiling
 * it is the check; it has no code. (C++, because C cannot ask what a parameter is.) */
#include <cstddef>
#include <type_traits>

namespace {

template <class T> constexpr int kind()
{
    return std::is_pointer_v<T> ? 1 : std::is_integral_v<T> || std::is_enum_v<T> ? 2 : std::is_floating_point_v<T> ? 3 : 0;
}

template <class A, class B> constexpr bool alike()
{
    return kind<A>() != 0 && kind<A>() == kind<B>() && sizeof(A) == sizeof(B);
}

template <class R, class... A, class S, class... B> constexpr bool same_call(R (*)(A...), S (*)(B...))
{
    if constexpr (sizeof...(A) == sizeof...(B)) {
        return alike<R, S>() && (alike<A, B>() && ...);
    }
    return false;
}

using two = int (*)(int, void *);
static_assert(same_call(static_cast<two>(nullptr), static_cast<unsigned (*)(unsigned, const char *)>(nullptr)),
              "kinds and sizes count");
static_assert(!same_call(static_cast<two>(nullptr), static_cast<int (*)(int)>(nullptr)), "a parameter is missing");
static_assert(!same_call(static_cast<two>(nullptr), static_cast<int (*)(long, void *)>(nullptr)), "another size");
static_assert(!same_call(static_cast<two>(nullptr), static_cast<int (*)(float, void *)>(nullptr)), "another kind");

} // namespace

#define SAME_VALUE(ours, theirs, value) static_assert(static_cast<long long>(theirs) == value, #theirs);
#define SAME_CALL(name, result, parameters) \
    static_assert(same_call(&name, static_cast<result(*) parameters>(nullptr)), #name);

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

#include "cuda/cublaslt_abi.h"

PLUMB_LT_VALUES(SAME_VALUE)
PLUMB_LT_MASKS(SAME_VALUE)
PLUMB_LT_FUNCTIONS(SAME_CALL)
static_assert(sizeof(plumb_lt_algo) == sizeof(cublasLtMatmulAlgo_t), "algorithm");
static_assert(sizeof(plumb_lt_result) == sizeof(cublasLtMatmulHeuristicResult_t), "result of the heuristics");
static_assert(offsetof(plumb_lt_result, workspace) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize) &&
                  offsetof(plumb_lt_result, status) == offsetof(cublasLtMatmulHeuristicResult_t, state) &&
                  offsetof(plumb_lt_result, waves) == offsetof(cublasLtMatmulHeuristicResult_t, wavesCount),
              "result of the heuristics");
#endif
