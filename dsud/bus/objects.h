/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DSUD_BUS_OBJECTS_H
#define DSUD_BUS_OBJECTS_H

#include "dsud/bus/bus.h"

#define DSUD_OBJECT_PATH_BYTES 64

/* Put all objects on a connection; the same on the system bus and on every private one. */
int dsud_objects_add(struct dsud_connection *connection);

int dsud_object_manager_add(struct dsud_connection *connection);
int dsud_object_target_add(struct dsud_connection *connection);
int dsud_object_update_add(struct dsud_connection *connection);

/* Path of an object. buffer: DSUD_OBJECT_PATH_BYTES; returned. */
const char *dsud_target_path(const struct dsud_target *target, char *buffer);
const char *dsud_update_path(const struct dsud_update *update, char *buffer);

/* Tell everybody on every connection. */
void dsud_tell_update_new(struct dsud_bus *bus, struct dsud_update *update);
void dsud_tell_update_changed(struct dsud_bus *bus, struct dsud_update *update);
void dsud_tell_update_progress(struct dsud_bus *bus, struct dsud_update *update);
void dsud_tell_update_completed(struct dsud_bus *bus, struct dsud_update *update,
				const struct upd_report *report);
void dsud_tell_update_removed(struct dsud_bus *bus, struct dsud_update *update);
void dsud_tell_target_new(struct dsud_bus *bus, struct dsud_target *target);
void dsud_tell_target_changed(struct dsud_bus *bus, struct dsud_target *target);
void dsud_tell_target_removed(struct dsud_bus *bus, struct dsud_target *target);

#endif
