/* Stands in for jansson where its header is missing, in builds made only to validate a GPU (PLUMB_BARE): nothing can be
 * parsed and no string be quoted, so safetensors files are neither read nor written. */
#ifndef PLUMB_ABSENT_JANSSON_H
#define PLUMB_ABSENT_JANSSON_H

#include <stddef.h>

#define JANSSON_VERSION "none"
enum { JSON_REJECT_DUPLICATES = 1, JSON_ENCODE_ANY = 2, json_error_out_of_memory = 1 };

typedef struct json_t json_t;
typedef long long json_int_t;
typedef struct json_error_t {
    int position;
    char text[64];
} json_error_t;

#define json_object_foreach(object, key, value) \
    for ((void)(object), (key) = NULL, (value) = NULL; (key) && (value);)

static inline const char *jansson_version_str(void) { return JANSSON_VERSION; }
static inline json_t *json_loadb(const char *text, size_t bytes, size_t flags, json_error_t *error)
{
    *error = (json_error_t){.text = "this build has no jansson"};
    return (void)text, (void)bytes, (void)flags, NULL;
}
static inline int json_error_code(const json_error_t *error) { return (void)error, 0; }
static inline void json_decref(json_t *json) { (void)json; }
static inline json_t *json_string(const char *text) { return (void)text, NULL; }
static inline char *json_dumps(const json_t *json, size_t flags) { return (void)json, (void)flags, NULL; }
static inline int json_is_object(const json_t *json) { return (void)json, 0; }
static inline int json_is_array(const json_t *json) { return (void)json, 0; }
static inline int json_is_string(const json_t *json) { return (void)json, 0; }
static inline int json_is_integer(const json_t *json) { return (void)json, 0; }
static inline int json_is_number(const json_t *json) { return (void)json, 0; }
static inline double json_number_value(const json_t *json) { return (void)json, 0.0; }
static inline size_t json_object_size(const json_t *json) { return (void)json, (size_t)0; }
static inline size_t json_array_size(const json_t *json) { return (void)json, (size_t)0; }
static inline json_t *json_array_get(const json_t *json, size_t index) { return (void)json, (void)index, NULL; }
static inline json_t *json_object_get(const json_t *json, const char *key) { return (void)json, (void)key, NULL; }
static inline json_int_t json_integer_value(const json_t *json) { return (void)json, 0; }
static inline const char *json_string_value(const json_t *json) { return (void)json, NULL; }

#endif
