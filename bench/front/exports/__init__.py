"""What other tools read: records as tables, classifiers with a model card, outputs of rows."""
