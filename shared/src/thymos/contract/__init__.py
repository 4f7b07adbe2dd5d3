"""The contract for those who do not use this package, made from the message classes; each module makes one form of it.

    verbs              the requests that services answer
    addresses          names of files and of subjects
    json_schema        what a message, a request and a reply look like
    field_numbers      the protobuf number of every field, for ever
    protobuf           the same messages as `.proto` files
    subjects_yaml      subjects, streams, limits, consumers
    senders            who publishes what
    asyncapi           all of it as one AsyncAPI document
    yaml_text          the little YAML that the above need
    readme             how to take part
    compatibility      what a schema takes away from an older one
    released           what was promised: released files never change

All are pure but `released`; `thymos.generate` writes what they make.
"""
