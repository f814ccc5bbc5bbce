/* Text that grows: for messages and listings whose length nobody knows beforehand. */
#include "core/core.h"

#include <stdio.h>

static bool make_room(struct plumb_text *text, size_t more)
{
    if (text->room - text->length > more) {
        return true;
    }
    size_t room = text->room ? text->room * 2 : 256;
    while (room - text->length <= more) {
        room *= 2;
    }
    char *data = plumb_realloc(text->context, text->data, room);
    if (!data) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->room = room;
    return true;
}

void plumb_text_add(struct plumb_text *text, const char *format, ...)
{
    if (text->failed || !make_room(text, 0)) {
        return;
    }
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(text->data + text->length, text->room - text->length, format, args);
    if (n < 0) {
        text->failed = true;
    } else if ((size_t)n >= text->room - text->length && make_room(text, (size_t)n)) {
        vsnprintf(text->data + text->length, text->room - text->length, format, again);
    }
    if (!text->failed) {
        text->length += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

char *plumb_text_take(struct plumb_text *text)
{
    if (!text->failed) {
        make_room(text, 0);
    }
    char *data = text->data;
    if (text->failed) {
        plumb_free(text->context, data);
        data = NULL;
    } else {
        data[text->length] = '\0';
    }
    *text = (struct plumb_text){.context = text->context};
    return data;
}
