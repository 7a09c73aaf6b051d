// Every message: 9P2000.L's and our extension's. codec.h turns them into frames and back.
#pragma once

#include "gofer/protocol/extension.h"
#include "gofer/protocol/file_messages.h"
#include "gofer/protocol/tree_messages.h"
