/* A first look at the bytes of a model, before protobuf-c unpacks them: that tags, numbers and lengths are well formed, and
 * that graphs do not lie in graphs so deep that following them would take the stack. It says where the first fault is, which
 * protobuf-c does not. */
#include "onnx/onnx.h"

#define MAX_DEPTH 32 /* graphs in graphs */

enum kind { LEAF, MODEL, GRAPH, NODE, ATTRIBUTE };

static enum kind kind_of_field(enum kind kind, uint64_t field)
{
    switch (kind) {
    case MODEL: return field == 7 ? GRAPH : LEAF;
    case GRAPH: return field == 1 ? NODE : LEAF;
    case NODE: return field == 5 ? ATTRIBUTE : LEAF;
    case ATTRIBUTE: return field == 6 ? GRAPH : LEAF;
    default: return LEAF;
    }
}

/* A varint of at most 10 bytes; false: longer, or past the end. */
static bool take_number(const uint8_t **at, const uint8_t *end, uint64_t *number)
{
    *number = 0;
    for (unsigned shift = 0; shift < 70 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        *number |= shift < 64 ? (uint64_t)(byte & 127) << shift : 0;
        if (byte < 128) {
            return true;
        }
    }
    return false;
}

static const char *scan(const uint8_t **at, const uint8_t *end, enum kind kind, int depth)
{
    while (*at < end) {
        uint64_t tag = 0, length = 0;
        if (!take_number(at, end, &tag)) {
            return "a tag that does not end";
        }
        if (tag >> 3 == 0 || tag >> 3 > 536870911) {
            return "a field number outside 1 to 536870911";
        }
        switch (tag & 7) {
        case 0:
            if (!take_number(at, end, &length)) {
                return "a number that does not end";
            }
            continue;
        case 1: length = 8; break;
        case 5: length = 4; break;
        case 2:
            if (!take_number(at, end, &length)) {
                return "a length that does not end";
            }
            break;
        default: return "a wire type that is not read (groups are none of ONNX)";
        }
        if (length > (uint64_t)(end - *at)) {
            return "a length beyond the end";
        }
        enum kind inner = (tag & 7) == 2 ? kind_of_field(kind, tag >> 3) : LEAF;
        if (inner == LEAF) {
            *at += length;
            continue;
        }
        if (inner == GRAPH && depth == MAX_DEPTH) {
            return "graphs in graphs more than 32 deep";
        }
        const char *why = scan(at, *at + length, inner, depth + (inner == GRAPH));
        if (why) {
            return why;
        }
    }
    return NULL;
}

const char *plumb_onnx_scan(const uint8_t *data, size_t bytes, size_t *offset)
{
    const uint8_t *at = data;
    const char *why = scan(&at, data + bytes, MODEL, 0);
    *offset = (size_t)(at - data);
    return why;
}
